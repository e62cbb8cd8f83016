"""Each file is read to its last byte once: what that showed is kept, believed while the file stays, never more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ckpt_doctor.audit import remembered, scan, scanning
from ckpt_doctor.audit.opening import open_file
from ckpt_doctor.audit.remembered import Memory, identity, load, store
from ckpt_doctor.inert import names
from ckpt_doctor.types import FileReport, Run

SEEN = {"one": ["F102"], "two": []}


def test_what_is_stored_of_the_files_that_are_still_there_is_loaded(tmp_path: Path) -> None:
    assert {} == load(tmp_path)
    store(tmp_path, SEEN, ["one", "two", "gone"])
    assert SEEN == load(tmp_path)
    store(tmp_path, SEEN, ["two"])
    assert {"two": []} == load(tmp_path)
    assert [names.remembered(tmp_path)] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"read": [1]}', b"[" * 9999, b"\xff", b" " * (1 << 20) + b"{}"]
)
def test_what_is_no_memory_is_not_believed(tmp_path: Path, content: bytes) -> None:
    names.remembered(tmp_path).write_bytes(content)
    assert {} == load(tmp_path)


def test_entries_that_are_no_codes_are_left_out(tmp_path: Path) -> None:
    names.remembered(tmp_path).write_text('{"read": {"one": ["F102"], "two": 5, "three": [1], "four": {}}}')
    assert {"one": ["F102"]} == load(tmp_path)


def test_a_link_or_a_pipe_in_its_place_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text('{"read": {"one": ["F102"]}}')
    before = other.read_bytes()
    for number, make in enumerate((lambda path: path.symlink_to(other), os.mkfifo)):
        run = tmp_path / f"run{number}"
        run.mkdir()
        make(names.remembered(run))
        assert {} == load(run)
    pipe = tmp_path / "run1"
    store(pipe, SEEN, ["one"])
    assert names.remembered(pipe).is_fifo()
    assert before == other.read_bytes()


def test_a_folder_that_cannot_be_written_remembers_nothing(tmp_path: Path) -> None:
    store(tmp_path / "absent", SEEN, ["one"])
    assert not (tmp_path / "absent").exists()


def test_a_file_that_was_touched_or_saved_anew_is_another(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(3)}, path)
    first = identity(open_file(path))
    assert first == identity(open_file(path))
    os.utime(path, (1, 1))
    touched = identity(open_file(path))
    torch.save({"w": torch.zeros(3)}, path)
    os.utime(path, (1, 1))
    assert 3 == len({first, touched, identity(open_file(path))})


@pytest.fixture
def spoiled(flipped: Path) -> tuple[Run, FileReport]:
    """That file as a scan that reads no tensors sees it; and its run."""
    report = scan(flipped.parent).runs[0]
    return report.run, next(file for file in report.files if file.checkpoint.path == flipped)


def test_a_damaged_file_is_read_once_and_stays_damaged(spoiled, monkeypatch: pytest.MonkeyPatch) -> None:
    run, file = spoiled
    reads: list[Path] = []
    real = scanning.deepened
    monkeypatch.setattr(scanning, "deepened", lambda c, progress: reads.append(c.path) or real(c, progress))
    first = Memory(run.path, [file], (), ()).read_through(file, run)
    assert {file.checkpoint.path} == set(reads)
    reads.clear()
    again = Memory(run.path, [file], (), ())
    second = again.read_through(file, run)
    assert [] == reads
    assert "F102" in {f.code for f in first.findings} & {f.code for f in second.findings}
    assert not again.is_sound(file)


def test_what_was_found_is_remembered_and_not_what_a_person_accepts(spoiled) -> None:
    """Ignored once, it is there again for whoever does not ignore it."""
    run, file = spoiled
    accepting = Memory(run.path, [file], ["F102"], ())
    assert "F102" not in {finding.code for finding in accepting.read_through(file, run).findings}
    assert accepting.is_sound(file)
    assert not Memory(run.path, [file], (), ()).is_sound(file)
    assert [["F102"]] == list(remembered.load(run.path).values())
