"""The facts of a run: those of the saved command, unless a person gives others."""

from __future__ import annotations

from typing import Any

from ckpt_doctor.trainers.hf_trainer.command import HFFacts, facts_of
from ckpt_doctor.trainers.hf_trainer.facts import understand
from ckpt_doctor.types import Evidence, Member, Run
from tests.trainers.hf_trainer.values import RUN, command, member

SAVED = {"num_train_epochs": 4, "max_steps": -1, "learning_rate": 0.01, "per_device_train_batch_size": 8}


def checkpoint(step: int, **arguments: Any) -> Member:
    state = {"global_step": step, "epoch": step / 10, "max_steps": 40}
    return member(f"checkpoint-{step}", state=state, arguments=command(**(SAVED | arguments)))


def facts(*members: Member, **given: Any) -> HFFacts:
    told = {name: Evidence(value, "given", given=True) for name, value in given.items()}
    return facts_of(understand(Run(RUN, "hf", members), told, ()))


def test_the_newest_command_counts_and_each_fact_names_its_file() -> None:
    """A resume may have been given another command; it wrote the later checkpoints."""
    found = facts(checkpoint(14), checkpoint(21, per_device_train_batch_size=4), checkpoint(7))
    assert (4, 40, 4, 0.01) == (
        found.num_train_epochs.value,
        found.max_steps.value,
        found.per_device_train_batch_size.value,
        found.learning_rate.value,
    )
    assert "checkpoint-21/training_args.bin" == found.learning_rate.source
    assert "checkpoint-21/trainer_state.json" == found.max_steps.source


def test_what_a_person_gives_wins() -> None:
    found = facts(checkpoint(14), num_train_epochs=6)
    assert (6, True) == (found.num_train_epochs.value, found.num_train_epochs.given)
    assert not found.learning_rate.given


def test_the_steps_of_an_epoch_are_told_by_all_checkpoints() -> None:
    found = facts(checkpoint(14), checkpoint(21))
    assert 10 == found.steps_per_epoch.value
    assert facts().steps_per_epoch is None


def test_a_run_that_is_measured_in_steps_has_no_number_of_epochs() -> None:
    found = facts(checkpoint(14, max_steps=40))
    assert (None, 40) == (found.num_train_epochs, found.max_steps.value)


def test_without_a_command_nothing_is_made_up() -> None:
    found = facts(member(state={"global_step": 14}))
    assert (None, None, None) == (found.num_train_epochs, found.max_steps, found.learning_rate)
