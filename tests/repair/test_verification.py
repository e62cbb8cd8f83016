"""Nothing counts before it has been read back: what is not as planned, or no better, is thrown away."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ckpt_doctor import audit, migrate, trainers
from ckpt_doctor.inert import pickle_writer
from ckpt_doctor.types import Edit, Finding
from ckpt_doctor.writer import commit
from tests.repair.repairs import assert_refused, contents


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
    assert_refused(step, "scheduler.nowhere.last_epoch is to be changed, but the file has no such place")


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
