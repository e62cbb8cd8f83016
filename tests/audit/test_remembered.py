"""What reading a file to its last byte showed is remembered as long as the file is that file, and not believed else."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ckpt_doctor.audit import remembered
from ckpt_doctor.audit.remembered import identity, load, shown_by_reading, store
from ckpt_doctor.inert import names
from ckpt_doctor.types import Checkpoint, FileStamp
from tests.reports.report_samples import NO_BEST_SCORE, file

STAMP = FileStamp(1, 2, 3, 4)
HELD = Checkpoint(Path("run/a.pt"), 3, "torch-zip", "training", {}, stamp=STAMP, checksums={"0": 7})


@pytest.mark.parametrize(
    "other",
    [
        replace(HELD, stamp=replace(STAMP, inode=9)),
        replace(HELD, stamp=replace(STAMP, mtime_ns=9)),
        replace(HELD, stamp=replace(STAMP, size=9)),
        replace(HELD, checksums={"0": 8}),
        replace(HELD, stamp=None),
    ],
)
def test_another_content_has_another_identity(other: Checkpoint) -> None:
    assert identity(HELD) != identity(other)


def test_a_file_that_was_moved_or_mounted_elsewhere_is_the_same() -> None:
    moved = replace(HELD, path=Path("elsewhere/b.pt"), stamp=replace(STAMP, device=99))
    assert identity(HELD) == identity(moved)


def test_another_version_judges_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(HELD)
    monkeypatch.setattr(remembered, "__version__", "another")
    assert before != identity(HELD)


def test_a_unit_is_what_its_parts_are() -> None:
    unit = Checkpoint(Path("run"), 6, "folder", "training", {}, parts=(HELD, HELD))
    assert identity(unit) != identity(replace(unit, parts=(HELD, replace(HELD, checksums={"0": 8}))))


def test_what_was_seen_of_files_that_are_gone_is_forgotten(tmp_path: Path) -> None:
    store(tmp_path, {"a": ["F102"], "b": [], "gone": ["T801"]}, ["a", "b", "never read"])
    assert {"a": ["F102"], "b": []} == load(tmp_path)
    assert [names.remembered(tmp_path).name] == os.listdir(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"read": [1]}', b'{"read": {"x": 5, "y": [3]}}', b"[" * 9999])
def test_a_memory_of_anything_says_nothing(content: bytes, tmp_path: Path) -> None:
    names.remembered(tmp_path).write_bytes(content)
    assert {} == load(tmp_path)


def test_a_link_in_its_place_is_neither_read_nor_written_through(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(json.dumps({"read": {"a": ["F102"]}}))
    before = other.read_text()
    names.remembered(tmp_path).symlink_to(other)
    assert {} == load(tmp_path)
    store(tmp_path, {"a": []}, ["a"])
    assert before == other.read_text()


def test_only_errors_without_a_cure_that_were_not_known_before_count() -> None:
    error = replace(NO_BEST_SCORE, code="T801", severity="error", migration=None, fix=None)
    cured = replace(error, code="E601", migration="add-best-score")
    known = replace(error, code="F101")
    before, whole = file("a.pt", known), file("a.pt", known, error, cured, NO_BEST_SCORE)
    assert ["T801"] == shown_by_reading(before, whole)


def test_what_is_no_file_in_its_place_stays(tmp_path: Path) -> None:
    """Where nothing can be remembered, files are read again."""
    os.mkfifo(names.remembered(tmp_path))
    store(tmp_path, {"a": []}, ["a"])
    assert names.remembered(tmp_path).is_fifo()
    assert [names.remembered(tmp_path).name] == os.listdir(tmp_path)
    assert {} == load(tmp_path)
