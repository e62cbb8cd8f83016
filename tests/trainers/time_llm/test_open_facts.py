"""A fact that is open is told with each candidate's consequence, and only where the consequences differ."""

from __future__ import annotations

from typing import Any

import pytest

from ckpt_doctor.trainers.time_llm.open_facts import open_facts
from ckpt_doctor.types import Member
from tests.trainers.time_llm.members import best, run_of, scheduled, step_file


def told(member: Member, **facts: Any) -> dict[str, dict[str, str]]:
    """Option -> candidate -> what follows."""
    return {fact.settle: dict(fact.candidates) for fact in open_facts(member, run_of(member, **facts))}


def test_modes_with_another_next_rate_are_told_apart() -> None:
    member = scheduled(step_file(35, 3), "type1", 0)
    (found,) = told(member, candidates={"lradj": ("type1", "type3", "constant")}, steps_per_epoch=10).values()
    assert {"type1", "type3 or constant"} == set(found)
    assert "the next rate must be 0.0001" in found["type1"]
    assert "is right" in found["type3 or constant"]


def test_modes_of_one_rate_leave_nothing_open() -> None:
    """In the second epoch type1, type3 and constant still have the rate of the first."""
    member = scheduled(step_file(15, 1), "type1", 0)
    assert {} == told(member, candidates={"lradj": ("type1", "type3", "constant")}, steps_per_epoch=10)


def test_a_step_that_may_end_its_epoch_asks_for_the_length() -> None:
    found = told(scheduled(step_file(20, 1), "TST", 19), lradj="TST")
    assert {"10": "the file ends epoch 1", "any other": "the file is inside epoch 1"} == found["--steps-per-epoch"]
    assert {} == told(scheduled(step_file(20, 1), "TST", 19), lradj="TST", steps_per_epoch=10)


@pytest.mark.parametrize("generation", ["complete", "first-patch"])
def test_on_several_processes_a_length_decides_where_the_trainer_starts(generation: str) -> None:
    """But for the file that the complete trainer saves at an epoch's end."""
    facts = {"lradj": "TST", "world_size": 2, "generation": generation}
    assert "--steps-per-epoch" in told(scheduled(step_file(25, 2), "TST", 48), **facts)
    at_the_end = told(scheduled(best(5, 1), "TST", 10), **facts)
    assert (generation == "first-patch") is ("--steps-per-epoch" in at_the_end)


def test_schedules_that_are_ahead_ask_for_the_processes() -> None:
    found = told(scheduled(step_file(15, 1), "TST", 20), lradj="TST", world_size_open=True, steps_per_epoch=10)
    assert {"1", "more"} == set(found["--world-size"])


def test_processes_that_the_evidence_allows_too_are_told_with_where_they_start() -> None:
    """Of 45 batches two processes train 22: step 25 is in the second epoch then, and the trainer skips too much."""
    found = told(scheduled(step_file(25, 1), "type1", 0), lradj="type1", steps_per_epoch=22, other_lengths=((45, 2),))
    assert ["1", "2 (with 45 steps per epoch)"] == list(found["--world-size"])
    assert "but the run was at epoch 1, batch 3" in found["--world-size"]["2 (with 45 steps per epoch)"]


def test_of_a_run_that_is_over_nothing_is_asked() -> None:
    member = scheduled(step_file(50, 4), "TST", 49)
    facts = {"candidates": {"lradj": ("TST", "type1")}, "steps_per_epoch": 10}
    assert told(member, **facts)
    assert {} == told(member, **facts, train_epochs=5)
