"""`latest`: the newest checkpoint that is safe, and why newer ones were passed over."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest

from ckpt_doctor import latest
from ckpt_doctor.advice import find_latest
from ckpt_doctor.audit import scan, scanning
from ckpt_doctor.audit.judging import is_damaged
from ckpt_doctor.audit.opening import deepened, open_file
from ckpt_doctor.errors import UsageError
from ckpt_doctor.writer import files


def test_a_damaged_one_is_passed_over_with_its_reason(sample) -> None:
    """The chosen one is cut off: it is never chosen again, repairable or not."""
    run = sample("complete-TST")
    first, newer = latest(run, repairable=True)
    assert first is not None
    os.truncate(first, first.stat().st_size // 2)
    second, passed_over = latest(run, repairable=True)
    assert second in dict(newer)
    assert first not in (second, None)
    assert [first] == [file.checkpoint.path for file in scan([run]).files if is_damaged(file)]
    assert all(why for _, why in passed_over)


def flip(path: Path) -> None:
    """Change a byte of a tensor, which changes no metadata."""
    storage = open_file(path).tensors[0].storage
    assert storage is not None
    with path.open("r+b") as stream:
        stream.seek(storage.offset)
        byte = stream.read(1)[0]
        stream.seek(storage.offset)
        stream.write(bytes([byte ^ 0xFF]))


def test_with_deep_bytes_that_changed_are_seen(sample) -> None:
    """Only reading it to its end shows it."""
    run = sample("complete-TST")
    chosen, _ = latest(run, repairable=True)
    assert chosen is not None
    flip(chosen)
    assert latest(run, repairable=True)[0] == chosen
    assert latest(run, repairable=True, deep=True)[0] not in (chosen, None)


def test_with_deep_each_file_is_read_once(sample, monkeypatch) -> None:
    """What reading showed is remembered, damage as well, until the file changes; what is ignored then, too."""
    run = sample("complete-TST")
    read: list[Path] = []

    def counted(checkpoint, progress):
        read.append(checkpoint.path)
        return deepened(checkpoint, progress)

    monkeypatch.setattr(scanning, "deepened", counted)
    newest, _ = latest(run, repairable=True)
    assert newest is not None
    flip(newest)
    first = latest(run, repairable=True, deep=True)
    assert [newest, first[0]] == read
    again = latest(run, repairable=True, deep=True)
    assert ([newest, first[0]], first[0]) == (read, again[0])
    assert dict(first[1]).keys() == dict(again[1]).keys()
    assert newest == latest(run, repairable=True, deep=True, ignore=["F102"])[0]
    newest.touch()
    latest(run, repairable=True, deep=True)
    assert [newest, first[0], newest] == read


def test_a_run_that_cannot_be_written_is_read_again(sample, monkeypatch) -> None:
    run = sample("complete-TST")
    monkeypatch.setattr(files, "publish", mock.Mock(side_effect=PermissionError))
    assert latest(run, repairable=True, deep=True)[0] == latest(run, repairable=True, deep=True)[0] is not None


def test_latest_wants_one_run(sample, tmp_path) -> None:
    run = sample("complete-TST")
    (tmp_path / "empty").mkdir()
    assert latest(tmp_path / "empty") == (None, [])
    with pytest.raises(UsageError, match="is not a folder"):
        latest(run / "checkpoint")
    with pytest.raises(UsageError, match="does not exist"):
        latest(tmp_path / "gone")


def test_one_that_asks_for_facts_is_no_repairable_one(sample) -> None:
    """Without its log nobody knows the score: `migrate --all` would be refused."""
    run = sample("first-patch-type1")
    assert latest(run, repairable=True)[0] is not None
    for log in (run.parents[1] / "logs").iterdir():
        log.unlink()
    path, passed_over = latest(run, repairable=True)
    assert (None, 3) == (path, len(passed_over))
    assert latest(run, repairable=True, ignore=["E601"])[0] is not None


def test_the_answer_is_the_runs_whatever_is_safe_as_it_is(sample) -> None:
    run = sample("first-patch-type1")
    found = find_latest(run, ignore=["E601"])
    assert found.advice is not None
    assert found.advice.path is not None
    older = find_latest(run, ignore=["E601"], deep=True)
    assert (found.file, found.advice.kind) != (None, "none")
    assert older.advice == found.advice
