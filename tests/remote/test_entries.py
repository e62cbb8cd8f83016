"""Entries from what the file systems of fsspec say, each in its own words."""

from __future__ import annotations

import stat
from datetime import datetime, timezone
from typing import Any

import pytest

from ckpt_doctor.remote.entries import Blocks, described

NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("info", "tag", "mtime"),
    [
        ({"ETag": '"abc"', "LastModified": NOON}, '"abc"', NOON.timestamp()),
        ({"etag": "abc", "mtime": NOON}, "abc", NOON.timestamp()),
        ({"blob_id": "abc", "last_commit": None}, "abc", 0.0),
        ({"updated": "2026-01-02T12:00:00Z"}, "", NOON.timestamp()),
        ({"mtime": 5.5}, "", 5.5),
        ({"mtime": "soon"}, "", 0.0),
        ({}, "", 0.0),
    ],
)
def test_a_file_has_its_size_its_tag_and_its_time(info: dict[str, Any], tag: str, mtime: float) -> None:
    entry = described({"name": "bucket/run/model.pt", "type": "file", "size": 7, **info})
    assert ("model.pt", 7, tag, mtime) == (entry.name, entry.size, entry.tag, entry.mtime)
    assert (True, 7) == (stat.S_ISREG(entry.status.st_mode), entry.status.st_size)


def test_another_content_has_another_identity() -> None:
    base = {"name": "x", "type": "file", "size": 7}
    found = [described({**base, **more}).identity for more in ({"ETag": "a"}, {"ETag": "b"}, {"ETag": "a", "mtime": 1})]
    assert 3 == len({*found})


def test_a_folder_is_one() -> None:
    entry = described({"name": "bucket/run/", "type": "directory", "size": 0})
    assert ("run", True, True) == (entry.name, entry.is_dir(), stat.S_ISDIR(entry.status.st_mode))


def test_blocks_that_touch_are_found_across() -> None:
    blocks = Blocks(0)
    for start, raw in ((10, b"abc"), (20, b"xyz"), (13, b"def")):
        blocks.add(start, raw)
    assert [(10, b"abcdef"), (10, b"abcdef"), None, (20, b"xyz"), None] == [
        blocks.around(at) for at in (10, 15, 16, 22, 9)
    ]
