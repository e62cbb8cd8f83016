"""How many steps are behind a checkpoint, and how many an epoch has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor import latest
from ckpt_doctor.trainers.hf_trainer import progress
from ckpt_doctor.trainers.hf_trainer.command import Command
from ckpt_doctor.types import Checkpoint, Member
from tests.trainers.hf_trainer.runs import adam_from_before
from tests.trainers.hf_trainer.values import adam, command, lambda_lr, member, unit


def test_latest_prefers_a_checkpoint_whose_parts_are_of_one_step(run: Path) -> None:
    adam_from_before(run / "checkpoint-21")
    assert latest(run)[0] == run / "checkpoint-14"


def at(
    step: int | None, adam_step: int | None = None, schedule: int | None = None, name: str = "", **more: Any
) -> Member:
    found: dict[str, Any] = {} if step is None else {"state": {"global_step": step}}
    found |= {} if adam_step is None else {"optimizer": adam(adam_step)}
    found |= {} if schedule is None else {"scheduler": lambda_lr(schedule, 0.01)}
    return member(name or "checkpoint-14", **found, **more)


@pytest.mark.parametrize(
    ("checkpoint", "step", "source"),
    [
        (at(14, 14, 14), 14, "global_step"),
        (at(14), 14, "global_step"),
        (at(7, 14, 14), 14, "Adam's step and the folder's name"),
        (at(7, 9, 9), 9, "Adam's step and the schedule"),
        (at(14, 7, 14), None, ""),
        (at(7, None, 14), 14, "the schedule and the folder's name"),
        (at(None, 14), 14, "Adam's step"),
        (at(None, 9, 9), 9, "Adam's step and the schedule"),
        (at(None, 9, 3), None, ""),
        (at(None), 14, "the folder's name"),
        (at(-1, 14, 14), 14, "Adam's step"),
        (at(14, 12, 12, **{"scaler.pt": {}}), 14, "global_step"),
        (at(14, 12, 12, arguments=command(fp16=True)), 14, "global_step"),
    ],
)
def test_one_wrong_witness_of_three_is_overruled_and_two_of_two_leave_it_open(
    checkpoint: Member, step: int | None, source: str
) -> None:
    """A gradient scaler skips steps that neither Adam nor the schedule counts: then they say nothing."""
    found = progress.true_step(checkpoint)
    assert (step, source) == ((found.value, found.source) if found else (None, ""))


def test_where_the_run_is_shows_although_the_optimizer_is_of_another_step() -> None:
    assert [14, 14, None] == [progress.majority(one) for one in (at(14, 7, 14), at(14, 7, 7), at(9, 7, 7))]


def states(*steps: tuple[int, float], accumulation: int = 1, **state: Any) -> list[Checkpoint]:
    arguments = command(num_train_epochs=4, max_steps=-1, gradient_accumulation_steps=accumulation)
    return [unit(state={"global_step": n, "epoch": epoch, **state}, arguments=arguments) for n, epoch in steps]


def test_the_length_of_an_epoch_follows_from_its_fraction() -> None:
    """With 3 batches to a step, 10 batches are 4 steps, or 3 where the last is left out."""
    found = progress.steps_per_epoch(states((14, 1.4), (21, 2.1)))
    assert (10, "epoch and global_step") == (found.value, found.source)
    assert 4 == progress.steps_per_epoch(states((6, 1.6), (10, 2.6), accumulation=3)).value
    assert 3 == progress.steps_per_epoch(states((5, 1.6), (8, 2.6), accumulation=3)).value


def test_at_epochs_ends_the_length_of_the_whole_training_tells_it() -> None:
    found = progress.steps_per_epoch(states((10, 1.0), max_steps=40))
    assert 10 == found.value
    assert progress.steps_per_epoch([]) is None
    assert progress.steps_per_epoch(states((14, float("nan")), (14, -1.0), (10**17, 1e300))) is None


NO_LENGTH = 2**63 - 1
"""`sys.maxsize`, which the Trainer has for the epochs of data that has no length."""


@pytest.mark.parametrize(
    ("step", "epoch", "accumulation", "since"),
    [
        (7, 7 / 40, 1, None),
        (10, 10 / 40, 1, None),
        (15, 1 + 5 / 40, 1, 5),
        (20, 1 + 10 / 40, 1, 0),
        (8, 2 + 6 / 120, 3, 6),
        (9, 2 + 9 / 120, 3, 0),
    ],
)
def test_data_without_a_length_may_have_come_to_its_end(
    step: int, epoch: float, accumulation: int, since: int | None
) -> None:
    """Ten batches, of which nine make three steps of three; an epoch counts as the 40 steps of the training."""
    (saved,) = states((step, epoch), accumulation=accumulation, max_steps=40, num_train_epochs=NO_LENGTH)
    assert since == progress.since_an_end(saved)
    assert 40 == progress.steps_per_epoch([saved]).value
    (sized,) = states((step, epoch), accumulation=accumulation, max_steps=40, num_train_epochs=5)
    assert progress.since_an_end(sized) is None


def test_the_whole_training_is_in_the_state_or_the_command() -> None:
    assert 40 == progress.total_steps(unit(state={"max_steps": 40}))
    assert 30 == progress.total_steps(unit(state={"max_steps": -1}, arguments=command(max_steps=30)))
    assert progress.total_steps(unit(state={"max_steps": "40"})) is None
    assert (4, None) == tuple(progress.epochs_told(Command({"num_train_epochs": 4, "max_steps": n})) for n in (-1, 40))
