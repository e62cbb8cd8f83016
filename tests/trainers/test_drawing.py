"""What is drawn of each trainer's runs: a line through every resume point, or only what the files record."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt_doctor import scan
from ckpt_doctor.audit import curve_of
from ckpt_doctor.trainers.drawing import MOST_DEPARTURES, MOST_POINTS
from ckpt_doctor.types import Curve, Report
from tests.trainers.accelerate import runs as accelerate
from tests.trainers.hf_trainer.runs import Writer
from tests.trainers.lightning import runs as lightning
from tests.trainers.plain import plain_runs as plain

RUNS = {
    "hf": lambda folder: Writer(folder).write(7, 14),
    "lightning": lambda folder: lightning.write(folder),
    "plain by epoch": lambda folder: plain.run(folder, "CosineAnnealingLR"),
    "plain by step": lambda folder: plain.run(folder, "OneCycleLR"),
    "plain, nested": lambda folder: plain.run(folder, "warm-up, then cosine"),
    "accelerate": lambda folder: accelerate.run_of(folder, schedule="sequential"),
    "accelerate, 2 processes": lambda folder: accelerate.run_of(folder, schedule="onecycle", world=2, ends=(4, 8)),
}
UNKNOWN = {
    "a function of the script": lambda folder: plain.run(folder, "LambdaLR"),
    "no schedule": lambda folder: plain.run(folder),
    "plateau": lambda folder: lightning.write(folder, schedule=lightning.plateau),
}


def drawn(folder: Path) -> tuple[Report, Curve]:
    report = scan([folder])
    [curve] = map(curve_of, report.runs)
    return report, curve


def level_at(curve: Curve, place: float) -> float:
    """The rate of the line from a place on."""
    return [rate for at, rate in curve.rates if at <= place][-1]


@pytest.mark.parametrize("name", RUNS)
def test_the_line_goes_through_every_resume_point(tmp_path: Path, name: str) -> None:
    RUNS[name](tmp_path / "run")
    report, curve = drawn(tmp_path)
    assert len(curve.places) == len(report.files) > 1
    assert curve.departures == ()
    for file in report.files:
        assert file.resume_point.lr is not None
        assert level_at(curve, curve.places[file.checkpoint.path]) == pytest.approx(file.resume_point.lr[0], rel=1e-12)


@pytest.mark.parametrize("name", UNKNOWN)
def test_without_a_formula_there_is_only_what_the_files_record(tmp_path: Path, name: str) -> None:
    UNKNOWN[name](tmp_path / "run")
    report, curve = drawn(tmp_path)
    assert curve.rates == ()
    assert len(curve.recorded) == len(report.files)


def test_a_schedule_saved_before_its_step_departs_by_one_epoch(tmp_path: Path) -> None:
    plain.run(tmp_path / "run", "CosineAnnealingLR", before_step=True)
    report, curve = drawn(tmp_path)
    assert {one.path for one in curve.departures} == {file.checkpoint.path for file in report.files}
    ends = [one.points[-1][0] for one in curve.departures]
    assert set(ends) == {float(plain.EPOCHS * plain.STEPS)}
    first = curve.departures[-1].points
    moves = list(dict.fromkeys((own, right) for _, own, right in first))
    assert [own for own, _ in moves[1:]] == pytest.approx([right for _, right in moves[:-1]])


def test_a_long_run_of_many_files_has_few_points_and_few_departures(tmp_path: Path) -> None:
    run = lightning.Run(tmp_path, schedule=lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.01, total_steps=10**6))
    for number in range(MOST_DEPARTURES + 3):
        value = run.epoch(1.0)
        schedule = value["lr_schedulers"][0]
        if number > 1:
            schedule |= {"last_epoch": schedule["last_epoch"] - 1, "_step_count": schedule["_step_count"] - 1}
        torch.save(value, tmp_path / f"epoch={value['epoch']}-step={value['global_step']}.ckpt")
    _, curve = drawn(tmp_path)
    assert len(curve.departures) == MOST_DEPARTURES
    assert max(len(one.points) for one in curve.departures) <= MOST_POINTS + 20
    assert 100 < len(curve.rates) <= MOST_POINTS + 20
    assert curve.rates[-1][0] == 10**6 - 1
