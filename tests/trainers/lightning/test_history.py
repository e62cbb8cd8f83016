"""Names and counts by which the files of a run are compared."""

from __future__ import annotations

import pytest

from ckpt_doctor.trainers.lightning.callbacks import savers
from ckpt_doctor.trainers.lightning.history import adam_lag, kept, name_of
from tests.trainers.lightning.values import checkpoint, counted


def test_the_name_is_the_last_part_on_any_system() -> None:
    assert ["a.ckpt"] * 3 == [name_of(path) for path in ("/run/a.ckpt", "C:\\run\\a.ckpt", "a.ckpt")]


def test_a_saver_keeps_its_best_and_its_last() -> None:
    state = {"best_k_models": {"/old/a.ckpt": 0.5, "C:\\b.ckpt": 0.1}, "last_model_path": "/old/last.ckpt"}
    (saver,) = savers(checkpoint("a.ckpt", {"callbacks": {"ModelCheckpoint": state}}))
    assert {"a.ckpt", "b.ckpt", "last.ckpt"} == kept(saver)
    (empty,) = savers(checkpoint("a.ckpt", {"callbacks": {"ModelCheckpoint": {"last_model_path": ""}}}))
    assert set() == kept(empty)


@pytest.mark.parametrize(("step", "lag"), [(20, 0), (13, 7), (None, None)])
def test_adam_lags_the_loops_where_training_went_on_with_a_new_optimizer(step: int | None, lag: int | None) -> None:
    state = {} if step is None else {0: {"step": step}}
    adam = {"state": state, "param_groups": [{"lr": 0.01, "params": [0]}]}
    assert lag == adam_lag(counted(20, epoch=2, optimizer_states=[adam]))
