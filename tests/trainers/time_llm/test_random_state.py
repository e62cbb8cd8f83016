"""The random state of a step file was taken too late to give this epoch's order of the data."""

from __future__ import annotations

from typing import Any

import pytest

from ckpt_doctor.trainers.time_llm.random_state import EPOCH_BEGIN, MARK, late_random_state
from ckpt_doctor.types import LateRandomState, Member, MigrationRecord, ResumePoint
from tests.trainers.time_llm.members import best, run_of, step_file

STATE = {"rng_state": {"torch": "of the file"}}
DONOR = best(20, 2, best_score=-0.4, root={"rng_state": {"torch": "of the epoch's beginning"}})


def late(
    member: Member, *others: Member, finished: int = 2, skip: int | None = 5, **facts: Any
) -> LateRandomState | None:
    resume = ResumePoint(finished_epochs=finished, skip_batches=skip)
    return late_random_state(member, run_of(member, *others, steps_per_epoch=10, **facts), resume)


def test_inside_an_epoch_the_best_file_of_its_beginning_has_the_state() -> None:
    told = late(step_file(25, 2, best_score=-0.4, root=STATE), DONOR)
    assert told is not None
    assert told.cure is not None
    assert DONOR.checkpoint.root["rng_state"] is told.cure.value
    assert (DONOR.checkpoint, True) == (told.donor, "epoch 2 was over" in told.cure.source)
    assert "shuffle" in told.why


def test_at_an_epochs_end_the_validation_drew_from_it_too() -> None:
    told = late(step_file(20, 1, best_score=-0.5, root=STATE), DONOR, skip=0)
    assert told is not None
    assert told.cure is not None
    assert "validation" in told.why


@pytest.mark.parametrize(
    "donor",
    [
        best(10, 1, best_score=-0.4, root=STATE),
        best(20, 2, best_score=-0.3, root=STATE),
        best(20, 2, best_score=-0.4),
        step_file(20, 1, best_score=-0.4, root=STATE),
    ],
    ids=["another-epoch", "another-run", "no-state", "not-a-best-file"],
)
def test_no_other_file_gives_its_state(donor: Member) -> None:
    told = late(step_file(25, 2, best_score=-0.4, root=STATE), donor)
    assert told is not None
    assert told.cure is None


def test_in_the_first_epoch_the_scripts_own_seed_is_right_and_on_several_processes_nothing_is() -> None:
    first = late(step_file(5, 0, root=STATE), finished=0)
    assert first is not None
    assert first.cure is not None
    assert first.cure.value is None
    donor = best(10, 2, best_score=-0.4, root=STATE)  # of 5 steps on each of two
    several = late(step_file(13, 2, best_score=-0.4, root=STATE), donor, world_size=2)
    assert several is not None
    assert several.cure is None


def test_a_trainer_that_kept_the_state_of_the_epochs_beginning_says_so() -> None:
    """Then only at the epoch's end, where the next epoch's state is asked for, it is too early."""
    marked = step_file(25, 2, best_score=-0.4, root=STATE | {MARK: EPOCH_BEGIN})
    assert late(marked, DONOR) is None
    at_end = late(step_file(20, 1, root=STATE | {MARK: EPOCH_BEGIN}), skip=0)
    assert at_end is not None
    assert "beginning" in at_end.why


def test_a_state_that_is_absent_right_or_already_replaced_is_left_alone() -> None:
    edit = {"key": "rng_state", "before": "dict", "after": "dict"}
    assert late(step_file(25, 2), DONOR) is None
    assert late(best(20, 2, root=STATE), skip=0) is None
    assert late(step_file(25, 2, root=STATE, migrations=(MigrationRecord("", "", (edit,), 0),)), DONOR) is None
