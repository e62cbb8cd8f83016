"""Real runs of the library: averaged weights after training, and a schedule that a file has lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor import latest

pytest.importorskip("lightning.pytorch")

import torch
from lightning.pytorch import callbacks as library

from tests.trainers.lightning.real_library import Module, continues, fit, saver
from tests.trainers.lightning.test_real_library import codes, files, judged, migrate

pytestmark = pytest.mark.long


@pytest.mark.parametrize("averaging", ["EMAWeightAveraging", "StochasticWeightAveraging"])
def test_a_file_saved_after_training_goes_on_from_the_average(tmp_path, averaging):
    """Those of the run itself hold what was trained, and continue identically."""

    def callbacks(folder: Path) -> list[Any]:
        options = {"decay": 0.9} if averaging == "EMAWeightAveraging" else {"swa_lrs": 0.01, "swa_epoch_start": 2}
        return [getattr(library, averaging)(**options), saver(folder)]

    whole = fit(callbacks(tmp_path / "whole"), epochs=6, root=tmp_path)
    module = fit(callbacks(tmp_path / "run"), epochs=4, root=tmp_path)
    final = tmp_path / "run" / "final.ckpt"
    module.trainer.save_checkpoint(final)
    before = files(tmp_path / "run")[-2]
    expected = {"EMAWeightAveraging": ("differs", {"P409"}), "StochasticWeightAveraging": ("open", set())}[averaging]
    assert expected == (judged(final, shuffle=False).resume, codes(judged(final, shuffle=False)))
    assert not continues(fit(callbacks(tmp_path / "a"), resume=final, epochs=6, root=tmp_path), whole)
    assert judged(before, shuffle=False).resume == "identical"
    assert continues(fit(callbacks(tmp_path / "b"), resume=before, epochs=6, root=tmp_path), whole)
    if averaging == "EMAWeightAveraging":
        assert latest(tmp_path / "run")[0] == before


@pytest.mark.parametrize("name", ["onecycle", "cosine", "step", "exponential", "restarts", "warmup"])
def test_a_lost_schedule_is_taken_from_another_file(tmp_path, name):
    """Lightning loads an empty list without a word, and the schedule starts anew."""
    folder = tmp_path / "run"
    whole = fit([saver(folder)], module=Module(name), root=tmp_path)
    path = files(folder)[1]
    value = torch.load(path, weights_only=False)
    torch.save({**value, "lr_schedulers": []}, path)
    assert judged(path).resume == "differs" and codes(judged(path)) == {"R508"}
    migrate(path)
    assert judged(path, shuffle=False).resume == "identical"
    resumed = fit([saver(folder)], resume=path, module=Module(name), root=tmp_path)
    assert continues(resumed, whole)
