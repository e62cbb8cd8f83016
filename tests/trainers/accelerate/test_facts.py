"""What the folders of a run show of the script, and nothing that they leave open."""

from __future__ import annotations

from typing import Any

import pytest

from ckpt_doctor.trainers.accelerate.command import AccelerateFacts, facts_of
from ckpt_doctor.trainers.accelerate.facts import understand
from ckpt_doctor.types import Evidence, Member, Run
from tests.trainers.accelerate.values import RUN, member


def facts(*members: Member, **given: Any) -> AccelerateFacts:
    told = {name: Evidence(value, "given", given=True) for name, value in given.items()}
    return facts_of(understand(Run(RUN, "accelerate", members), told, ()))


EPOCHS = (member("epoch_0", 4), member("epoch_1", 8), member("epoch_2", 12))


def test_folders_of_epochs_tell_their_optimizer_steps() -> None:
    found = facts(*EPOCHS)
    assert found.updates is not None
    assert (4, 1) == (found.updates.value, found.ahead)
    assert "epoch_0" in found.updates.source
    assert found.steps_per_epoch is None, "how many batches make a step is open"


def test_a_script_that_counts_epochs_from_1_is_told_by_three_of_them() -> None:
    assert 0 == facts(member("epoch_1", 4), member("epoch_2", 8), member("epoch_3", 12)).ahead
    assert 1 == facts(member("epoch_1", 4), member("epoch_2", 8)).ahead


def test_most_folders_decide_and_a_tie_decides_nothing() -> None:
    assert 4 == facts(*EPOCHS, member("epoch_3", 5)).updates.value
    assert facts(EPOCHS[0], member("epoch_1", 10)).updates is None


@pytest.mark.parametrize("inside", [member("step_6", 6), member("step_6", 6, None, 2)])
def test_a_folder_inside_an_epoch_shows_that_each_batch_makes_a_step(inside: Member) -> None:
    """By its name, or by the batches that `accumulate` counted."""
    assert 4 == facts(*EPOCHS, inside).steps_per_epoch.value
    assert facts(*EPOCHS, member("step_12", 6, None, 3)).steps_per_epoch is None


def test_with_the_batches_given_a_folder_inside_shows_the_accumulation() -> None:
    """6 of 12 batches and 3 steps: every second batch makes one."""
    found = facts(member("step_6", 3, None, 6), steps_per_epoch=12)
    assert 6 == found.updates.value
    assert "6 batches into an epoch of 12" in found.updates.source
    assert facts(member("step_5", 2, None, 5), steps_per_epoch=12).updates.value == 6
    assert facts(member("step_1", 0, None, 1), steps_per_epoch=12).updates is None, "several lengths explain it"


def test_each_process_has_its_random_states() -> None:
    assert 3 == facts(member("epoch_0", 4, None, 0, "random_states_2.pkl")).processes
    assert 1 == facts().processes


def test_what_a_person_gives_stays() -> None:
    found = facts(*EPOCHS, member("step_6", 6), steps_per_epoch=40, shuffle=False)
    assert (40, False) == (found.steps_per_epoch.value, found.shuffle.value)


def test_one_folder_of_another_moment_does_not_change_where_epochs_begin() -> None:
    assert 0 == facts(member("epoch_1", 4), member("epoch_2", 4), member("epoch_3", 12)).ahead


def test_the_length_of_an_accumulation_is_told_by_folders_from_inside_an_epoch() -> None:
    """Of the lengths that fit, the one with which all were saved at an optimizer step; else all of them."""
    whole = [member("step_3", 1, None, 3), member("step_21", 7, None, 9)]
    assert range(3, 4) == facts(*EPOCHS, *whole).accumulation
    between = [member("step_2", 0, None, 2), member("step_4", 1, None, 4)]
    assert range(3, 5) == facts(*EPOCHS, *between).accumulation
    assert range(1, 2) == facts(*EPOCHS, member("step_6", 6, None, 2)).accumulation
    assert not facts(*EPOCHS, member("step_6", 6, None, 2), *whole).accumulation, "they contradict each other"
