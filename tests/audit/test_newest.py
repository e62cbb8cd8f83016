"""`latest`: the newest checkpoint that is safe, and why newer ones were passed over."""

from __future__ import annotations

import os

import pytest

from ckpt_doctor import latest
from ckpt_doctor.audit import scan
from ckpt_doctor.audit.judging import is_damaged
from ckpt_doctor.audit.newest import departs, preferred, progress
from ckpt_doctor.audit.opening import open_file
from ckpt_doctor.errors import UsageError


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


def test_with_deep_bytes_that_changed_are_seen(sample) -> None:
    """A flipped byte of a tensor changes no metadata: only reading it to its end shows it."""
    run = sample("complete-TST")
    chosen, _ = latest(run, repairable=True)
    assert chosen is not None
    storage = open_file(chosen).tensors[0].storage
    assert storage is not None
    with chosen.open("r+b") as stream:
        stream.seek(storage.offset)
        byte = stream.read(1)[0]
        stream.seek(storage.offset)
        stream.write(bytes([byte ^ 0xFF]))
    assert latest(run, repairable=True)[0] == chosen
    assert latest(run, repairable=True, deep=True)[0] not in (chosen, None)


def test_a_name_does_not_make_a_checkpoint_new(sample) -> None:
    """Progress is what the file counted, not the number of its folder."""
    run = sample("complete-TST")

    def steps() -> list[int | None]:
        files = sorted(((file, r.run) for r in scan([run]).runs for file in r.files), key=progress)
        return [file.member.state.global_step for file, _ in files]

    before = steps()
    assert sorted(before) == before
    min(run.glob("checkpoint_step_*")).rename(run / "checkpoint_step_99999")
    assert before == steps()


def test_of_several_the_newest_that_keeps_its_path_is_preferred(sample) -> None:
    files = list(scan([sample("complete-TST")]).files)
    kept = [file for file in files if not departs(file)]
    assert preferred(files) is (kept[0] if kept else files[0])
    assert preferred([]) is None


def test_latest_wants_one_run(sample, tmp_path) -> None:
    run = sample("complete-TST")
    (tmp_path / "empty").mkdir()
    assert latest(tmp_path / "empty") == (None, [])
    with pytest.raises(UsageError, match="is not a folder"):
        latest(run / "checkpoint")
    with pytest.raises(UsageError, match="does not exist"):
        latest(tmp_path / "gone")
