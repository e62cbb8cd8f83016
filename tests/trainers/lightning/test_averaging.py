"""Averaged weights in the place of the trained ones, once training has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor import audit
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.types import FileReport
from tests.trainers.lightning.runs import FIT, change, put, write


def final(folder: Path, ended: bool, **more: Any) -> FileReport:
    """The last file of a run, saved when `fit` had returned, or before."""
    path = write(folder)[-1]
    value = change(path, **more)
    if ended:
        entered = value["loops"]["fit_loop"]["epoch_progress"]["current"]["started"]
        put(path, [*FIT, "epoch_progress", "current", "completed"], entered)
    return audit.check(path, facts=facts(shuffle=False)).files[0]


@pytest.mark.parametrize(
    ("ended", "more", "resume", "codes"),
    [
        (True, {"averaging_state": {"n_averaged": torch.tensor(2)}}, "differs", {"P409"}),
        (False, {"averaging_state": {"n_averaged": torch.tensor(2)}}, "identical", set()),
        (True, {}, "identical", set()),
    ],
)
def test_what_is_saved_after_training_holds_the_average(tmp_path, ended, more, resume, codes):
    file = final(tmp_path, ended, **more)
    assert (resume, codes) == (file.resume, {f.code for f in file.findings if f.severity != "info"})


@pytest.mark.parametrize(("averaged", "resume"), [(2, "open"), (0, "identical")])
def test_whether_swa_came_to_its_end_is_open(tmp_path, averaged, resume):
    """It puts the average in place only in its last epoch, which no file shows."""
    path = write(tmp_path)[-1]
    value = torch.load(path, weights_only=False)
    more = {"StochasticWeightAveraging": {"n_averaged": torch.tensor(averaged), "latest_update_epoch": 2}}
    assert resume == final(tmp_path, True, callbacks={**value["callbacks"], **more}).resume
