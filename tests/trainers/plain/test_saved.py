"""What a file counts, as its loop wrote it, and the numbers in its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt_doctor.trainers.plain.saved import is_stepped_singly, name_form, numbers_in, saved_position
from ckpt_doctor.types import Checkpoint, Member, MigrationRecord, TrainingState

STEP_LR = {"step_size": 5, "gamma": 0.1, "base_lrs": [0.1], "_last_lr": [0.1]}


def member(scheduler: object, *edits: dict[str, object]) -> Member:
    migrations = tuple(MigrationRecord("", "", (edit,), 0) for edit in edits)
    held = Checkpoint(Path("a.pt"), 1, "torch-zip", "training", {"sched": scheduler}, migrations=migrations)
    return Member(held, TrainingState(), None, places={"scheduler": ("sched",)})


@pytest.mark.parametrize(
    ("name", "form", "numbers"),
    [
        ("G_400.pth", "G_\0.pth", (400,)),
        ("fold1_epoch_7.pth", "fold1_epoch_\0.pth", (7,)),
        ("epoch=3-step=90.ckpt", "epoch=\0-step=\0.ckpt", (3, 90)),
    ],
)
def test_numbers_of_moments_are_told_from_those_of_files_that_belong_together(name, form, numbers):
    one = Checkpoint(Path(name), 1, "torch-zip", "training", {})
    assert (form, numbers) == (name_form(one), numbers_in(one))


def test_a_position_is_the_one_before_a_migration_moved_it():
    assert 7 == saved_position(member({"last_epoch": 7}))
    assert 6 == saved_position(member({"last_epoch": 7}, {"key": "sched.last_epoch", "before": 6}))


@pytest.mark.parametrize(
    ("state", "singly"),
    [
        ({**STEP_LR, "last_epoch": 3, "_step_count": 4}, True),
        ({**STEP_LR, "last_epoch": 3, "_step_count": 40}, False),
        ({"last_epoch": 3, "T_cur": 3, "T_0": 10}, True),
        ({"last_epoch": 3, "T_cur": 3.25, "T_0": 10}, False),
    ],
)
def test_a_scheduler_that_was_given_its_position_does_not_count_steps(state, singly):
    assert singly == is_stepped_singly(member(state))
