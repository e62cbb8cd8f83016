"""An earlier resume that was not repaired shows in the values that the trainer wrote, also after a repair."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ckpt_doctor.trainers.time_llm.divergence import divergence
from ckpt_doctor.trainers.time_llm.resume_point import resume_point
from ckpt_doctor.types import Member, MigrationRecord
from tests.trainers.time_llm.members import best, run_of, scheduled, step_file


def shown(member: Member, mode: str = "TST", **facts: Any) -> str:
    known = {"steps_per_epoch": 10, "lradj": mode, "generation": "complete"} | facts
    run = run_of(member, **known)
    return divergence(member, run, resume_point(member, run))


@pytest.mark.parametrize(
    ("member", "mode"),
    [
        (scheduled(step_file(25, 2), "TST", 24), "TST"),
        (scheduled(best(20, 2), "TST", 20), "TST"),
        (scheduled(step_file(25, 2), "COS", 2), "COS"),
        (scheduled(best(20, 2), "COS", 1), "COS"),
        (scheduled(step_file(35, 3), "type1", 0, 0.0001), "type1"),
        (scheduled(best(30, 3), "type1", 0, 0.0002), "type1"),
    ],
    ids=["step-TST", "best-TST", "step-COS", "best-COS", "step-idle", "best-idle"],
)
def test_a_file_as_the_uninterrupted_run_saves_it_shows_nothing(member: Member, mode: str) -> None:
    """Saved before its own step of the schedule, or before the epoch's update of the rate."""
    assert "" == shown(member, mode)


@pytest.mark.parametrize(("at", "behind"), [(23, "2 steps"), (20, "5 steps")])
def test_a_schedule_that_lags_more_than_its_own_save_shows_the_resumes_before(at: int, behind: str) -> None:
    assert f"{behind} behind" in shown(scheduled(step_file(25, 2), "TST", at))
    assert "2 epochs behind" in shown(scheduled(step_file(35, 3), "COS", 1), "COS")


def test_a_rate_that_the_mode_has_nowhere_here_was_trained_with() -> None:
    """25 times the rate, after a resume without `--learning_rate`."""
    told = shown(scheduled(step_file(35, 3), "type1", 0, 0.0025), "type1")
    assert "trained at rate 0.0025" in told
    assert "0.0001" in told


def test_a_repair_does_not_hide_it() -> None:
    """The weights were trained with the wrong rates all the same: what the migration changed is on record."""
    late = scheduled(step_file(25, 2), "TST", 20)
    repaired = scheduled(step_file(25, 2), "TST", 25)
    group = late.checkpoint.root["optimizer"]["param_groups"][0]
    edits = (
        {"key": "scheduler.last_epoch", "before": 20, "after": 25},
        {"key": "scheduler._last_lr", "before": late.checkpoint.root["scheduler"]["_last_lr"], "after": []},
        {"key": "optimizer.param_groups[0].lr", "before": group["lr"], "after": 0.0},
    )
    checkpoint = replace(repaired.checkpoint, migrations=(MigrationRecord("", "", edits, 0),))
    assert "5 steps behind" in shown(replace(repaired, checkpoint=checkpoint))
    assert "" == shown(repaired)


def test_what_another_hand_has_changed_or_the_mode_does_not_build_proves_nothing() -> None:
    """The trainer writes rate and `_last_lr` as one."""
    assert "" == shown(scheduled(step_file(25, 2), "TST", 20, 0.123))
    assert "" == shown(scheduled(step_file(35, 3), "COS", 1), "TST")
    assert "" == shown(scheduled(step_file(25, 2), "TST", 20), disproved={"lradj": "the files say COS"})
    assert "" == shown(step_file(25, 2))


def test_it_must_show_in_every_mode_that_the_run_may_have() -> None:
    member = scheduled(step_file(35, 3), "type1", 0, 0.0001)
    assert "" == shown(member, lradj=None, candidates={"lradj": ("type3", "type1")})
    assert shown(member, lradj=None, candidates={"lradj": ("type3", "constant")})
