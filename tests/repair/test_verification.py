"""Nothing counts before it has been read back: what is not as planned, or no better, is thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ckpt_doctor import audit, migrate, open_checkpoint, trainers
from ckpt_doctor.errors import VerificationFailed
from ckpt_doctor.inert import pickle_writer
from ckpt_doctor.repair import execution
from ckpt_doctor.repair.torch_check import compare_loaded
from ckpt_doctor.types import Edit, Finding
from ckpt_doctor.writer import commit
from tests.repair.repairs import SAMPLES, contents


def assert_refused(step: Path, said: str, **options) -> None:
    """The migration fails for this reason, and leaves the file and its folder as they were."""
    before = contents(step.parent)
    (result,) = migrate([step], **{"fixes": ["sync-scheduler"], **options})
    assert ("failed", True) == (result.status, said in result.message), result.message
    assert ((), result.before) == (result.edits, result.after)
    assert before == contents(step.parent)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_finding_that_is_still_there_stops_it(in_place, step, monkeypatch):
    """A migration that does not do what it says is thrown away."""
    broken = Edit(("scheduler", "last_epoch"), 139, 138, "sabotage")
    (sync,) = (m for m in trainers.fixes("time-llm") if m.name == "sync-scheduler")
    lies = replace(sync, plan=lambda case: replace(sync.plan(case), edits=(broken,)))
    monkeypatch.setattr(trainers, "fixes", lambda name: (lies,))
    assert_refused(step, "R501 scheduler-behind is still there", in_place=in_place)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_finding_that_was_not_there_before_stops_it(in_place, step, monkeypatch):
    """However good the rest is."""
    judge = audit.judge
    calls = []

    def second_time_worse(case, *counts):
        report = judge(case, *counts)
        calls.append(case)
        worse = Finding("P499", "made-up", "warning", "something else broke")
        return replace(report, findings=(*report.findings, worse)) if len(calls) > 1 else report

    monkeypatch.setattr(audit, "judge", second_time_worse)
    assert_refused(step, "P499 made-up would be new", in_place=in_place)


HARMS = {
    "another value": lambda root: {**root, "global_step": 141},
    "a key lost": lambda root: {key: root[key] for key in root if key != "rng_state"},
    "another tensor": lambda root: {**root, "model": dict.fromkeys(root["model"], next(iter(root["model"].values())))},
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("in_place", [False, True])
def test_a_program_that_is_not_the_planned_one_stops_it(in_place, harm, step, monkeypatch):
    """Read back by our own reader and compared object for object."""
    dump = pickle_writer.dump
    monkeypatch.setattr(pickle_writer, "dump", lambda root, **options: dump(HARMS[harm](root), **options))
    assert_refused(step, "does not read back as planned", in_place=in_place)


def test_tensors_that_an_edit_would_lose_stop_it(step, monkeypatch):
    """Also when the plan itself says so: weights are never the price of a repair."""
    (sync,) = (m for m in trainers.fixes("time-llm") if m.name == "sync-scheduler")
    loses = Edit(("rng_state", "torch"), "a tensor", None, "sabotage")
    lies = replace(sync, plan=lambda case: replace(sync.plan(case), edits=(*sync.plan(case).edits, loses)))
    monkeypatch.setattr(trainers, "fixes", lambda name: (lies,))
    assert_refused(step, "tensors of the written file are not those of the original")


def test_a_place_that_is_not_in_the_file_is_named(step, monkeypatch):
    (sync,) = (m for m in trainers.fixes("time-llm") if m.name == "sync-scheduler")
    astray = Edit(("scheduler", "nowhere", "last_epoch"), 139, 138, "sabotage")
    lost = replace(sync, plan=lambda case: replace(sync.plan(case), edits=(astray,)))
    monkeypatch.setattr(trainers, "fixes", lambda name: (lost,))
    assert_refused(step, "scheduler.nowhere.last_epoch is to be changed, but there is no such place")


def test_a_file_saved_anew_while_it_is_migrated_is_left_alone(step):
    """The trainer's new checkpoint stays; the copy of the old one is thrown away."""
    saved = []

    def trainer_saves(_path: Path, _count: int) -> None:
        if not saved:
            torch.save({"epoch": 4}, step)
            saved.append((step.read_bytes(), step.stat().st_mtime_ns))

    (result,) = migrate([step], fixes=["sync-scheduler"], progress=trainer_saves)
    assert ("failed", True) == (result.status, "changed since it was read" in result.message), result.message
    assert {"checkpoint.pt": saved[0]} == contents(step.parent)


def test_a_file_that_somebody_is_writing_is_never_touched(step):
    """Though it reads well at the moment."""
    code = f"f = open({str(step)!r}, 'r+b'); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert "open\n" == process.stdout.readline()
        for in_place in (False, True):
            assert_refused(step, f"is being written by process {process.pid}", in_place=in_place)
        process.communicate("\n")


@pytest.mark.parametrize("mode", ["replace", "in-place", "output"])
def test_a_disk_that_is_too_small_is_told_before_anything_is_written(mode, step, monkeypatch, tmp_path):
    """With both sizes."""
    monkeypatch.setattr(commit, "free_space", lambda _folder: 12_345)
    assert_refused(
        step, "12,345 bytes free", in_place=mode == "in-place", output=tmp_path / "there" if mode == "output" else None
    )
    assert not (tmp_path / "there").exists()


# --- --verify torch ---------------------------------------------------------------------------------------------------


def test_torch_itself_may_have_the_last_word(run):
    """Every repair of every file passes it."""
    assert {"migrated"} == {result.status for result in migrate([run], verify_torch=True)}
    legacy = SAMPLES / "legacy"
    shutil.copytree(legacy, run.parents[2] / "legacy")
    (result,) = migrate([run.parents[2] / "legacy" / "checkpoints"], verify_torch=True)
    assert "migrated" == result.status, result


def test_what_torch_loads_otherwise_stops_it(step, monkeypatch):
    """A defect that our own reader would share does not get through."""
    monkeypatch.setattr(execution, "verified", lambda *_: ())
    dump = pickle_writer.dump
    monkeypatch.setattr(pickle_writer, "dump", lambda root, **options: dump({**root, "global_step": 141}, **options))
    assert_refused(step, "torch loads 141 for 140 at global_step", verify_torch=True)


BASE = {
    "model": {"a": torch.arange(6.0), "b": torch.ones(2, 3)},
    "epoch": 3,
    "rate": 0.5,
    "tuple": (1, [2]),
    "no": None,
}


@pytest.mark.parametrize(
    "other",
    [
        {**BASE, "model": {**BASE["model"], "a": torch.arange(6.0) + 1e-7}},
        {**BASE, "model": {**BASE["model"], "a": torch.arange(6.0).double()}},
        {**BASE, "model": {**BASE["model"], "b": torch.ones(3, 2)}},
        {**BASE, "model": {"a": BASE["model"]["a"]}},
        {**BASE, "model": {**BASE["model"], "c": torch.ones(1)}},
        {**BASE, "epoch": 4},
        {**BASE, "rate": float("nan")},
        {**BASE, "tuple": (1, [3])},
        {**BASE, "tuple": (1, (2,))},
        {**BASE, "no": 0},
    ],
)
def test_the_comparison_sees_every_kind_of_difference(other, tmp_path):
    """And none between a file and itself."""
    old, new = tmp_path / "old.pt", tmp_path / "new.pt"
    torch.save(BASE, old)
    torch.save(other, new)
    compare_loaded(open_checkpoint(old), open_checkpoint(old), [])
    with pytest.raises(VerificationFailed, match="torch loads"):
        compare_loaded(open_checkpoint(old), open_checkpoint(new), [])


def test_torch_runs_no_foreign_code_for_it(tmp_path):
    """A file that would is refused before torch sees it."""
    path = tmp_path / "checkpoint.pt"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    torch.save({"x": Evil()}, path)
    with pytest.raises(VerificationFailed, match="foreign code"):
        compare_loaded(open_checkpoint(path), open_checkpoint(path), [])
    assert not (tmp_path / "ran").exists()
