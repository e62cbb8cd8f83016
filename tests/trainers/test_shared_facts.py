"""Facts that several training commands have are one row, with one name, kind and wording."""

from __future__ import annotations

import pytest

from ckpt_doctor import trainers
from ckpt_doctor.trainers.shared_facts import LEARNING_RATE, SHUFFLE, STEPS_PER_EPOCH, TRAIN_EPOCHS
from ckpt_doctor.types import Fact

ALL = trainers.KNOWN


def test_rows_of_one_name_are_of_one_kind() -> None:
    """So that one option can stand for all of them."""
    rows = [fact for trainer in ALL for fact in trainer.facts]
    assert {fact.name: fact.kind for fact in rows} == {fact.name: fact.kind for fact in reversed(rows)}


def test_reports_say_a_shared_fact_in_the_same_words() -> None:
    assert "8,640 steps per epoch" == STEPS_PER_EPOCH.say(8640)
    assert "10 epochs" == TRAIN_EPOCHS.say(10)
    assert "learning rate 4e-06" == LEARNING_RATE.say(4e-6)
    assert ["shuffled", "not shuffled"] == [SHUFFLE.say(value) for value in (True, False)]


@pytest.mark.parametrize(
    ("fact", "right", "wrong"),
    [
        (STEPS_PER_EPOCH, 1, 0),
        (TRAIN_EPOCHS, 3, 2.5),
        (LEARNING_RATE, 1e-9, 0.0),
        (SHUFFLE, False, 0),
    ],
)
def test_a_value_that_no_training_has_does_not_fit(fact: Fact, right: object, wrong: object) -> None:
    assert fact.kind.fits(right)
    assert not fact.kind.fits(wrong)
