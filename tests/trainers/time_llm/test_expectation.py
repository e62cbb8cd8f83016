"""What the trainer expects of a file: the keys that it reads, and the scheduler that it builds for the run's mode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ckpt_doctor.trainers.time_llm.command import facts_of
from ckpt_doctor.trainers.time_llm.expectation import expectation, why_open, with_evidence
from ckpt_doctor.trainers.time_llm.layout import REQUIRED
from ckpt_doctor.types import DeepResult, ResumePoint, Schedule
from tests.trainers.time_llm.members import run_of, scheduled, step_file

ONE, COSINE = "OneCycleLR", "CosineAnnealingLR"


@pytest.mark.parametrize(
    ("facts", "builds", "moves", "unit"),
    [
        ({"lradj": "TST"}, (ONE,), True, "step"),
        ({"lradj": "COS"}, (COSINE,), True, "epoch"),
        ({"lradj": "type1"}, (ONE,), False, "step"),
        ({"candidates": {"lradj": ("type1", "type3")}}, (ONE, COSINE), False, "step"),
        ({"candidates": {"lradj": ("TST", "type1")}}, (ONE, COSINE), None, "step"),
        ({}, (ONE, COSINE), None, "step"),
    ],
)
def test_the_mode_says_which_scheduler_is_built_and_whether_it_is_stepped(
    facts: dict[str, Any], builds: tuple[str, ...], moves: bool | None, unit: str
) -> None:
    member = step_file(15, 1)
    schedule = expectation(member, run_of(member, **facts)).schedule
    assert (builds, moves, unit) == (schedule.builds, schedule.moves, schedule.unit)


def test_the_trainer_reads_its_five_keys_and_of_its_own_files_every_random_state() -> None:
    """Another project's file is not asked for those: it may be given in the place of one of the trainer's.

    One that is read to its last byte, after its run was understood, is still the trainer's."""
    member = scheduled(step_file(15, 1), "TST", 15)
    run = run_of(member, lradj="TST")
    own = expectation(member, run).reads
    deeper = replace(member, checkpoint=replace(member.checkpoint, deep=DeepResult()))
    assert own == expectation(deeper, run).reads
    foreign = expectation(member, run_of(lradj="TST")).reads
    assert {(key,) for key in REQUIRED} <= set(foreign)
    assert {("rng_state", kind) for kind in ("python", "numpy", "torch")} == set(own) - set(foreign)


def test_a_gradient_scaler_is_read_where_it_is_enabled() -> None:
    """One that is off saves an empty dict."""
    off, on = ({"scaler": held} for held in ({}, {"scale": 65536.0, "growth_factor": 2.0}))
    for root, read in ((off, False), (on, True)):
        member = step_file(15, 1, root=root)
        assert read is (("scaler", "_growth_tracker") in expectation(member, run_of(member)).reads)


def test_the_position_has_its_origin_in_words() -> None:
    resume = ResumePoint(last_epoch=50, finished_epochs=2)
    for facts, words in (
        ({"lradj": "TST"}, "global_step 50"),
        ({"lradj": "TST", "world_size": 2}, "global_step 25 x 2 processes"),
        ({"lradj": "COS"}, "after 2 finished epochs"),
        ({"candidates": {"lradj": ("type1", "type3")}}, "type1 or type3: rate after 2 finished epochs"),
    ):
        assert words in with_evidence(Schedule(), facts_of(run_of(**facts)), resume).evidence


def test_a_mode_that_is_open_names_its_candidates() -> None:
    assert "TST or type1" in why_open(facts_of(run_of(candidates={"lradj": ("TST", "type1")})))["--lradj"]
    assert {} == why_open(facts_of(run_of(lradj="TST")))
