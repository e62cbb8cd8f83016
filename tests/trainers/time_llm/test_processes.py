"""How many processes train together, as far as the files of a run tell it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.trainers.time_llm.processes import (
    Known,
    counted_step,
    divisors,
    fits,
    infer_world_size,
    least_steps,
    possible_lengths,
    shifted_lengths,
)
from ckpt_doctor.types import MigrationRecord
from tests.trainers.time_llm.members import best, step_file


def test_one_process_s_schedule_counts_single_steps() -> None:
    files = [step_file(15, 1, last_epoch=14), best(20, 2, last_epoch=20)]
    world = infer_world_size(files, "TST", None, "complete")
    assert world is not None
    assert (1, False) == (world.value, world.given)


@pytest.mark.parametrize("world", [2, 4])
def test_a_prepared_schedule_counts_each_step_once_per_process(world: int) -> None:
    """In TST the schedule is at `world` times global_step, in COS at `world` times the finished epochs."""
    steps = [step_file(n, n // 10, last_epoch=world * (n - 1)) for n in (35, 45, 55)]
    epochs = [best(10 * n, n, last_epoch=world * (n - 1)) for n in (3, 4, 5)]
    for files, mode in ((steps, "TST"), (epochs, "COS")):
        told = infer_world_size(files, mode, None, "complete")
        assert told is not None
        assert told.value == world


def test_in_the_idle_modes_the_length_of_an_epoch_tells() -> None:
    """45 batches on 2 processes are 22 steps an epoch: step 44 ends the second. Nothing tells inside the first."""
    told = infer_world_size([best(44, 2)], "type1", 45, "complete")
    assert told is not None
    assert told.value == 2
    assert infer_world_size([step_file(5, 0)], "type1", 45, "complete") is None


def test_a_file_fits_where_the_trainer_saves() -> None:
    """A best file at an epoch's end, a step file from its epoch's beginning to its end."""
    assert [fits(best(step, 1), 10, 1) for step in (9, 10, 15, 20)] == [False, True, False, True]
    assert [fits(step_file(step, 1), 10, 1) for step in (9, 10, 15, 20, 21)] == [False, True, True, True, False]


def test_adam_counts_where_global_step_was_shifted() -> None:
    """Under a gradient scaler Adam skips steps, so that there global_step counts."""
    assert counted_step(step_file(50, 1, optimizer_step=42)) == 42
    assert counted_step(step_file(50, 1, optimizer_step=42, root={"scaler": {"scale": 1.0}})) == 50


def test_a_recorded_shift_tells_the_length_and_the_processes() -> None:
    """Behind epoch 1 of 22 steps on 2 processes `--fix-epoch` wrote 45 + 3 for step 25."""
    edit = {"key": "global_step", "before": 25, "after": 48}
    shifted = step_file(48, 1, optimizer_step=25, migrations=(MigrationRecord("", "", (edit,), 0),))
    assert (45, 2) in shifted_lengths(shifted)
    assert [] == shifted_lengths(step_file(48, 1, optimizer_step=25))


def test_lengths_are_those_that_explain_every_file() -> None:
    """A best file of the complete trainer ends its epochs; the schedule's length leaves whole epochs."""
    files = [best(20, 2), step_file(25, 2)]
    found = set(possible_lengths(files, "type1", "complete", Known(total_steps=50), (1, 2)))
    assert (10, 1) in found
    assert all(50 % length == 0 for length, _ in found)
    assert set() == set(possible_lengths(files, "type1", "complete", Known(steps_per_epoch=7), (1,)))


def test_a_skip_in_the_log_rules_lengths_out() -> None:
    """A trainer that skipped 5 batches at step 25 has epochs of 10 or 20, and of 5 it would have skipped none."""
    known = Known(skips=((25, 5),))
    assert [known.allows(length, 1, 25) for length in (5, 10, 20, 15)] == [False, True, True, False]


def test_so_many_steps_were_made_in_each_epoch_at_least() -> None:
    assert least_steps([]) == 1
    assert least_steps([step_file(25, 2), step_file(31, 2)]) == 11


@given(st.integers(1, 5000))
def test_divisors_are_all_and_only_the_divisors(total: int) -> None:
    assert divisors(total) == [n for n in range(1, total + 1) if total % n == 0]


@pytest.mark.parametrize("total", [-4, 0, 10**11, 10**30])
def test_a_length_that_no_training_has_has_no_divisors(total: int) -> None:
    assert [] == divisors(total)
