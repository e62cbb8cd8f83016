"""The states of Lightning's own callbacks, by the keys under which they are saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt_doctor import repair
from ckpt_doctor.trainers.lightning.callbacks import savers, stoppers
from ckpt_doctor.types import Checkpoint
from tests.trainers.lightning.runs import MONITOR, STOPPER, judged, put, said, write


@pytest.mark.parametrize("monitor", [5, {"a": 1}, None])
def test_a_memory_whose_monitor_is_no_name_is_still_one(tmp_path, monitor):
    """No resume reads it, so nothing is lost, and nothing is written in its place."""
    path = write(tmp_path, 4)[1]
    put(path, ["callbacks", MONITOR, "monitor"], monitor)
    file = judged(path)
    assert "E611" not in {f.code for f in file.findings}
    (result,) = repair.migrate([path])
    assert result.status == "unchanged"


@pytest.mark.parametrize("worst", [float("inf"), -float("inf")])
def test_a_file_from_before_the_first_validation_has_the_worst_score_and_no_fault(tmp_path, worst):
    """EarlyStopping.__init__: `torch.inf`, or minus that with mode max."""
    path = write(tmp_path)[1]
    put(path, ("callbacks", STOPPER, "best_score"), torch.tensor(worst))
    assert {} == said(judged(path, shuffle=False))
    put(path, ("callbacks", STOPPER, "best_score"), torch.tensor(float("nan")))
    assert {"O707"} == said(judged(path, shuffle=False)).keys()


def checkpoint(callbacks: object) -> Checkpoint:
    return Checkpoint(Path("a.ckpt"), 0, "torch-zip", "training", {"callbacks": callbacks})


def test_each_state_is_known_by_its_class_and_the_arguments_in_its_key():
    """Several savers keep several bests; before 1.5 the key is the class alone."""
    held = checkpoint(
        {
            "ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min'}": {"monitor": "val_loss", "dirpath": "/a"},
            "ModelCheckpoint{'monitor': None}": {"monitor": None},
            "ModelCheckpoint": {"best_model_path": "b.ckpt"},
            "ModelCheckpointOfMine": {"monitor": "other"},
            "EarlyStopping{'monitor': 'acc', 'mode': 'max'}": {"wait_count": 2, "patience": True},
        }
    )
    assert [("val_loss", "min"), ("", ""), ("", "")] == [(one.monitor, one.mode) for one in savers(held)]
    assert ["/a", "", ""] == [one.text("dirpath") for one in savers(held)]
    (stopper,) = stoppers(held)
    assert ("acc", "max", 2, None) == (
        stopper.monitor,
        stopper.mode,
        stopper.count("wait_count"),
        stopper.count("patience"),
    )
    assert ("callbacks", "EarlyStopping{'monitor': 'acc', 'mode': 'max'}") == stopper.path


@pytest.mark.parametrize(
    "key",
    [
        "ModelCheckpoint{",
        "ModelCheckpoint{'monitor': __import__('os')}",
        "ModelCheckpoint{" + "{" * 1000,
        "ModelCheckpoint{'mode': '" + "x" * 5000 + "'}",
        "ModelCheckpoint{1, 2}",
        "ModelCheckpoint{'mode': 7}",
    ],
)
def test_a_key_of_anything_says_nothing_and_is_not_run(key):
    (saver,) = savers(checkpoint({key: {}}))
    assert "" == saver.mode


@pytest.mark.parametrize("callbacks", [None, 7, [], {3: {}}, {"ModelCheckpoint": 3}])
def test_what_is_no_callbacks_state_is_none(callbacks):
    assert [] == savers(checkpoint(callbacks)) == stoppers(checkpoint(callbacks))


def test_the_files_that_are_kept_are_paths_with_scores():
    (saver,) = savers(checkpoint({"ModelCheckpoint": {"best_k_models": {"a.ckpt": 0.5, 3: 0.1}}}))
    assert {"a.ckpt": 0.5} == saver.best_k
    (odd,) = savers(checkpoint({"ModelCheckpoint": {"best_k_models": [1]}}))
    assert {} == odd.best_k
