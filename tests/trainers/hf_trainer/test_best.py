"""What a run remembers of its best model: as the state has it, and as a replay of its log has it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor import repair
from ckpt_doctor.trainers.hf_trainer.best import Best, Waiting, early_stopping, replay
from ckpt_doctor.trainers.hf_trainer.command import Command
from tests.trainers.hf_trainer.runs import BEST, LOSSES, Writer, change_state, judged, save_arguments, told
from tests.trainers.hf_trainer.values import member


def test_an_exhausted_patience_is_told(tmp_path: Path) -> None:
    run = Writer(tmp_path / "run", BEST, LOSSES, patience=2).write(10, 20)
    assert {"E604"} == told(judged(run / "checkpoint-20"))


LOST: dict[str, tuple[dict[str, Any], str]] = {
    "forgotten": ({"best_metric": None, "best_global_step": None, "best_model_checkpoint": None}, "E601"),
    "another": ({"best_metric": 1.2, "best_global_step": 20}, "E605"),
    "moved": ({"best_model_checkpoint": "/content/drive/old/checkpoint-10"}, "E610"),
}


@pytest.mark.parametrize("how", LOST)
def test_the_best_is_replayed(best_run: Path, how: str) -> None:
    folder = best_run / "checkpoint-10"
    values, code = LOST[how]
    for other in best_run.iterdir():
        save_arguments(other, {**BEST, "restore_callback_states_from_checkpoint": True})
    change_state(folder, **values)
    found = judged(folder)
    assert {code} == told(found) and found.verdict == "repairable"
    (result,) = repair.migrate([folder], fixes=["fix-best-path" if how == "moved" else "add-best-score"])
    assert result.status == "migrated", result.message
    state = json.loads((folder / "trainer_state.json").read_text())
    assert (state["best_metric"], state["best_global_step"]) == (1.0, 10)
    assert Path(state["best_model_checkpoint"]).name == "checkpoint-10"
    assert set() == told(judged(folder))


def test_a_callback_that_a_sibling_has_is_put_back(best_run: Path) -> None:
    folder = best_run / "checkpoint-20"
    change_state(folder, stateful_callbacks={"TrainerControl": {"args": {}, "attributes": {}}})
    assert {"L302"} == told(judged(folder))
    assert repair.migrate([folder])[0].status == "migrated"
    callbacks = json.loads((folder / "trainer_state.json").read_text())["stateful_callbacks"]
    assert callbacks["EarlyStoppingCallback"]["attributes"]["early_stopping_patience_counter"] == 2


def entries(*values: tuple[int, float], key: str = "eval_loss") -> list[Mapping[str, object]]:
    """A log with these evaluations, and lines of training between them."""
    return [entry for step, value in values for entry in ({"step": step, "loss": 1.0}, {"step": step, key: value})]


LOSS = Command({"metric_for_best_model": "loss"})


def test_the_best_is_the_first_lowest_loss_and_patience_counts_from_it() -> None:
    log = entries((5, 3.0), (10, 1.0), (15, 1.5), (20, 1.0))
    assert Best(1.0, 10, 2) == replay(log, LOSS)
    assert Best(3.0, 5, 0) == replay(log[:2], LOSS)
    assert Best(None, None, 0) == replay([], LOSS)


def test_a_metric_that_grows_is_best_where_it_is_highest() -> None:
    """As the command says, or as its name does where the command does not."""
    log = entries((5, 0.5), (10, 0.9), (15, 0.7), key="eval_accuracy")
    assert Best(0.9, 10, 1) == replay(log, Command({"metric_for_best_model": "accuracy"}))
    lower = Command({"metric_for_best_model": "eval_accuracy", "greater_is_better": False})
    assert Best(0.5, 5, 2) == replay(log, lower)


def test_an_improvement_below_the_threshold_is_the_best_and_counts_as_waiting() -> None:
    log = entries((5, 1.0), (10, 0.95), (15, 0.5))
    assert Best(0.95, 10, 1) == replay(log[:4], LOSS, threshold=0.1)
    assert Best(0.5, 15, 0) == replay(log, LOSS, threshold=0.1)


def test_nan_is_never_the_best_and_an_evaluation_on_start_is_none() -> None:
    assert Best(None, None, 0) == replay(entries((5, math.nan)), LOSS)
    assert Best(2.0, 10, 0) == replay(entries((0, 1.0), (10, 2.0)), LOSS)


def test_without_a_metric_no_best_is_kept() -> None:
    assert replay(entries((5, 1.0)), Command({})) is None


def callback(waited: object, patience: object = 3) -> dict[str, Any]:
    return {
        "args": {"early_stopping_patience": patience, "early_stopping_threshold": 0.1},
        "attributes": {"early_stopping_patience_counter": waited},
    }


def test_each_early_stopping_callback_is_read_and_what_is_none_is_not() -> None:
    def read(saved: object) -> list[Waiting]:
        return early_stopping(member(state={"stateful_callbacks": {"EarlyStoppingCallback": saved}}))

    assert [Waiting(2, 3, 0.1)] == read(callback(2))
    assert [Waiting(2, 3, 0.1), Waiting(0, 5, 0.1)] == read([callback(2), callback(0, 5)])
    for odd in (None, [], {}, {"args": 3}, callback("2"), callback(2, None), [callback(None)]):
        assert [] == read(odd)
    assert [] == early_stopping(member(state={}))
