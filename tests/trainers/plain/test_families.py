"""Projects whose own code decides where a resume goes on: they are named, and not judged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from click.testing import CliRunner

from ckpt_doctor import scan
from ckpt_doctor.cli.main import app
from tests.trainers.plain.test_layout import Saved, renamed, saved

NANO = {"iter_num": 2000, "model_args": {}, "best_val_loss": torch.tensor(1.5), "config": {}}
NAMED: dict[str, tuple[str, Callable[[], Saved], str]] = {
    "nanoGPT": (
        "ckpt.pt",
        lambda: {**renamed(model="model_state_dict", optimizer="optimizer_state_dict"), **NANO},
        "2000",
    ),
    "a finished file of Ultralytics": (
        "best.pt",
        lambda: {
            "epoch": -1,
            "best_fitness": 0.5,
            "model": saved()["model_state_dict"],
            "ema": None,
            "optimizer": None,
        },
        "nothing to resume",
    ),
    "one in training": (
        "last.pt",
        lambda: {
            "epoch": 4,
            "best_fitness": 0.5,
            "model": None,
            "ema": saved()["model_state_dict"],
            "optimizer": saved()["optimizer_state_dict"],
            "train_args": {"epochs": 9},
        },
        "resumes at epoch 5",
    ),
    "Time-Series-Library": (
        "long_term_forecast_x_ftM_sl96_ll48_pl96_0/checkpoint.pth",
        lambda: saved()["model_state_dict"],
        "no code to resume",
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_projects_that_decide_themselves_are_named_and_not_judged(tmp_path, name):
    place, make, told = NAMED[name]
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    torch.save(make(), path)
    (file,) = scan([path]).files
    assert ("", "not judged") == (file.trainer, file.resume)
    assert [] == [f for f in file.findings if f.severity != "info"]
    printed = CliRunner().invoke(app, ["check", str(path)], env={"COLUMNS": "400"}).output
    assert told in next(line for line in printed.splitlines() if "resume: not judged" in line)
    (why,) = [point.why for point in file.not_checked if point.what == "the resume"]
    assert told in why
