"""What is drawn of a run of the Trainer: the saved command's schedule, the logged rates, the evaluations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt_doctor import scan
from ckpt_doctor.audit import curve_of
from ckpt_doctor.types import Curve
from tests.trainers.hf_trainer.runs import LENGTH, TOTAL, Writer, change_state, linear

LOSSES = {5: 0.9, 10: 0.5, 15: 0.7}


def drawn(folder: Path) -> Curve:
    [curve] = map(curve_of, scan([folder]).runs)
    return curve


def test_the_trainer_of_hugging_face_is_drawn_by_the_saved_command_and_its_log(tmp_path: Path) -> None:
    Writer(tmp_path / "run", {"metric_for_best_model": "loss"}, LOSSES).write(7, 20)
    curve = drawn(tmp_path)
    assert curve.rates == tuple((float(step), pytest.approx(0.01 * linear(step))) for step in range(TOTAL))
    assert dict(curve.recorded)[3.0] == pytest.approx(0.01 * linear(3))
    assert (curve.losses, curve.losses_by, curve.best) == (tuple(LOSSES.items()), "step", 10)
    assert curve.steps_per_epoch == LENGTH


def test_a_schedule_of_hugging_face_that_fits_no_file_is_not_drawn(tmp_path: Path) -> None:
    folder = Writer(tmp_path / "run").write(7, 14)
    part = folder / "checkpoint-14" / "scheduler.pt"
    state = torch.load(part)
    torch.save({**state, "_last_lr": [0.5, 0.5]}, part)
    own = [{"step": step, "learning_rate": 0.5, "loss": 1.0} for step in range(1, 15)]
    change_state(folder / "checkpoint-14", log_history=own)
    curve = drawn(tmp_path)
    assert curve.rates == ()
    assert len(curve.recorded) >= 14
