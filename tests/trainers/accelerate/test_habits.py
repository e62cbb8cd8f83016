"""What the folders of a run have in common, and how often their schedules move."""

from __future__ import annotations

import pytest

from ckpt_doctor.trainers.accelerate.habits import is_behind, learned, times
from ckpt_doctor.types import Evidence, Member
from tests.trainers.accelerate.values import member

UPDATES = Evidence(4, "epoch_0")


@pytest.mark.parametrize(
    ("schedule", "world", "moves", "behind"),
    [(6, 1, 1, False), (12, 2, 2, False), (6, 2, 1, False), (5, 1, 0, True), (10, 2, 0, True), (1, 1, None, False)],
)
def test_a_schedule_moves_once_a_step_or_once_for_each_process(
    schedule: int, world: int, moves: int | None, behind: bool
) -> None:
    """One that lacks the last step alone does not show which; one that goes by epochs does neither."""
    held = member("step_6", 6, schedule)
    assert (moves, behind) == (times(held, world), is_behind(held, world))


def test_a_folder_without_steps_or_schedule_shows_nothing() -> None:
    for held in (member("step_6"), member("step_6", 6), member("step_1", 1, 1), member("step_6", None, 6)):
        assert 0 == times(held, 1)
    assert not is_behind(member("step_1", 1, 0), 1), "it may be one that goes by epochs"


def test_files_objects_and_processes_are_the_most_that_a_folder_has() -> None:
    members = (
        member("step_2", 2, 2, 0, "custom_checkpoint_0.pkl", "scaler.pt", "optimizer_0/.metadata"),
        member("step_4", 4, 4, 0, "random_states_1.pkl"),
    )
    found = learned(members, 1, None, 1)
    assert {"scaler.pt", "random_states_1.pkl"} <= found.files
    assert "optimizer_0/.metadata" not in found.files
    assert (1, 2, {1: 2}) == (found.customs, found.ranks, dict(found.times))
    assert members[0] is found.at[2, 2]


def epochs(*schedules: int, **more: int) -> tuple[Member, ...]:
    return tuple(member(f"epoch_{n}", 4 * (n + 1), at) for n, at in enumerate(schedules))


def test_epochs_are_numbered_from_0_however_the_script_counts() -> None:
    assert {0, 1, 2} == set(learned(epochs(4, 8, 12), 1, UPDATES, 1).by_epoch)
    shifted = tuple(member(f"epoch_{n}", 4 * n, 4 * n) for n in (1, 2, 3))
    assert {0, 1, 2} == set(learned(shifted, 1, UPDATES, 0).by_epoch)


@pytest.mark.parametrize(
    ("schedules", "each", "early"),
    [((1, 2, 3), 1, False), ((0, 1, 2), 1, True), ((4, 8, 12), 0, True), ((1, 1, 1), 0, True)],
)
def test_a_schedule_goes_by_epochs_where_every_folder_says_so(
    schedules: tuple[int, ...], each: int, early: bool
) -> None:
    """With its step after the save, or before; one that never moves shows nothing."""
    found = learned(epochs(*schedules), 1, UPDATES, 1)
    assert (each, early) == (found.each_epoch, found.steps_early)
    assert 0 == learned(epochs(*schedules)[:1], 1, UPDATES, 1).each_epoch, "one folder shows nothing"


def test_a_folder_of_an_epochs_end_that_lacks_the_last_step_shows_a_save_before_it() -> None:
    assert learned(epochs(3, 7, 11), 1, UPDATES, 1).ends_behind
    assert not learned(epochs(4, 8, 12), 1, UPDATES, 1).ends_behind
