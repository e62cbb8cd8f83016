"""EarlyStopping's state, as the files of a run prove it."""

from __future__ import annotations

import math

import pytest

from ckpt_doctor.trainers.time_llm.early_stopping import improved
from ckpt_doctor.trainers.time_llm.evidence import (
    early_stopping_after,
    finished_epochs_of,
    plausible_score,
    sources,
)
from ckpt_doctor.types import EarlyStoppingState, MigrationRecord
from tests.trainers.time_llm.members import best, run_of, step_file

SAVED = {"best_score": -0.4, "val_loss_min": 0.4, "counter": 0}


def test_nothing_is_known_before_the_first_validation() -> None:
    member = step_file(5, 0)
    told = early_stopping_after(member, run_of(member), 0)
    assert told is not None
    assert EarlyStoppingState(None, math.inf, 0) == told.value


def test_a_best_file_proves_its_own_score() -> None:
    """It was saved because the loss improved, whatever `counter` and `val_loss_min` say."""
    member = best(20, 2, **(SAVED | {"counter": 3}))
    told = early_stopping_after(member, run_of(member, steps_per_epoch=10), 2)
    assert told is not None
    assert improved(0.4) == told.value


def test_a_score_that_a_migration_wrote_proves_nothing() -> None:
    edit = {"key": "best_score", "before": None, "after": "-0.4"}
    member = best(20, 2, **SAVED, migrations=(MigrationRecord("", "", (edit,), 0),))
    assert early_stopping_after(member, run_of(member, steps_per_epoch=10), 2) is None


def test_a_sibling_of_the_same_state_speaks_for_a_file_without_a_score() -> None:
    """Both were saved in epoch 2; a step file of epoch 1 knows of one validation less."""
    silent = step_file(25, 2)
    same, older = step_file(28, 2, **(SAVED | {"counter": 1})), step_file(15, 1, **SAVED)
    told = early_stopping_after(silent, run_of(silent, same, steps_per_epoch=10), 2)
    assert told is not None
    assert EarlyStoppingState(-0.4, 0.4, 1) == told.value
    assert same.label in told.source
    assert early_stopping_after(silent, run_of(silent, older, steps_per_epoch=10), 2) is None


def test_every_source_is_named_the_most_trusted_first() -> None:
    member = best(20, 2, **SAVED)
    later = step_file(28, 2, **SAVED)
    told = list(sources(member, run_of(member, later, steps_per_epoch=10), 2))
    assert [improved(0.4)] * 2 == [evidence.value for evidence in told]
    assert "own" in told[0].source
    assert later.label in told[1].source


@pytest.mark.parametrize(
    ("member", "finished"),
    [
        (best(20, 2), 2),
        (best(25, 2), None),
        (step_file(25, 2), 2),
        (step_file(20, 1), 1),
        (step_file(20, 2), None),
        (step_file(25, 2, optimizer_step=24), None),
    ],
    ids=["best", "best-mid-epoch", "step", "step-at-the-end", "names-the-next-epoch", "adam-disagrees"],
)
def test_how_many_validations_a_file_knows_of(member, finished: int | None) -> None:
    assert finished_epochs_of(member, run_of(member, steps_per_epoch=10)) == finished


@pytest.mark.parametrize("score", [0.4, math.nan, -math.inf, "x", None, True])
def test_a_score_that_no_loss_gives_is_none(score: object) -> None:
    """It is minus a mean squared error."""
    assert plausible_score(best(20, 2, root={"best_score": score})) is None
