"""Positioned reads: a small file is read once, a large one only where it is looked at, and both are counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckpt_doctor.readers.file_view import FileView

Reads = list[tuple[int, int]]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Each read of the system: how many bytes were asked for, and where."""
    seen: Reads = []
    pread = os.pread

    def counted(descriptor: int, count: int, offset: int) -> bytes:
        seen.append((count, offset))
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", counted)
    return seen


def looks(path: Path) -> tuple[list[bytes], int]:
    with FileView(path) as view:
        size = view.size
        found = [view.read_at(at, 8) for at in (0, size // 2, size - 4, size, -1)]
        return found, view.bytes_read


def expected(data: bytes) -> list[bytes]:
    middle, end = len(data) // 2, len(data) - 4
    return [data[:8], data[middle : middle + 8], data[end:], b"", b""]


def test_a_small_file_is_read_once(tmp_path: Path, reads: Reads) -> None:
    data = bytes(range(256)) * 16
    (tmp_path / "small").write_bytes(data)
    assert looks(tmp_path / "small") == (expected(data), len(data))
    assert reads == [(len(data), 0)]


def test_a_large_file_is_read_only_where_it_is_looked_at(tmp_path: Path, reads: Reads) -> None:
    data = bytes(range(256)) * 4096
    (tmp_path / "large").write_bytes(data)
    assert looks(tmp_path / "large") == (expected(data), 8 + 8 + 4)
    assert [count for count, _ in reads] == [8, 8, 4]


def test_a_file_that_shrank_is_short_and_not_an_error(tmp_path: Path) -> None:
    path = tmp_path / "shrunk"
    path.write_bytes(b"x" * 4096)
    with FileView(path) as view:
        os.truncate(path, 100)
        assert (view.read_at(0, 200), view.read_at(200, 8)) == (b"x" * 100, b"")
