"""Folders of `save_state`: what is theirs, silence on healthy ones, each fault by one change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ckpt_doctor import scan
from ckpt_doctor.trainers.facts import facts
from tests.trainers.accelerate.runs import SCHEDULES, SETTLED, SHUFFLED, Trainer, change, codes, judged, run_of


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("schedule", [*SCHEDULES, ""])
def test_healthy_folders_are_silent(tmp_path: Path, schedule: str, world: int) -> None:
    report = scan(run_of(tmp_path, schedule=schedule, world=world), facts=facts(**SETTLED))
    assert [] == report.findings
    assert {("accelerate", "ok", "identical")} == {(file.trainer, file.verdict, file.resume) for file in report.files}
    assert 4 == report.runs[0].run.facts.steps_per_epoch.value  # type: ignore[union-attr]


@pytest.mark.parametrize("each", [1, 2, 3])
def test_batches_of_an_accumulation_are_not_taken_for_steps(tmp_path: Path, each: int) -> None:
    run = run_of(tmp_path, each=each, inside=(2 if each == 2 else 3,))
    report = scan(run, facts=facts(**SETTLED))
    assert [] == [finding for finding in report.findings if finding.severity != "info"]


def test_the_batches_of_an_epoch_are_not_compared_with_the_steps_of_all_epochs(tmp_path: Path) -> None:
    report = scan(run_of(tmp_path, each=2, ends=(4, 8), inside=(11,)), facts=facts(**SETTLED))
    assert [] == [finding for finding in report.findings if finding.severity != "info"]


def test_sgd_counts_no_steps_and_nothing_is_said_of_them(tmp_path: Path) -> None:
    report = scan(run_of(tmp_path, sgd=True), facts=facts(**SETTLED))
    assert [] == [finding for finding in report.findings if finding.severity != "info"]
    assert {"identical", "open"} == {file.resume for file in report.files}


def test_without_facts_the_order_of_the_data_is_open(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    assert {"open"} == {file.resume for file in scan(run).files}
    settle = {point.settle for file in scan(run).files for point in file.not_checked}
    assert {"--shuffle or --no-shuffle", "--no-seedable-sampler or --no-shuffle"} <= settle
    assert "identical" == judged(run / "epoch_1", **SHUFFLED).resume


def test_weights_that_cannot_be_read_are_a_damaged_file_and_nothing_else(tmp_path: Path) -> None:
    folder = run_of(tmp_path) / "epoch_1"
    weights = folder / "model.safetensors"
    os.truncate(weights, 100)
    os.utime(weights, (0, 0))  # else it may still be being written
    assert ["F101"] == codes(judged(folder, **SETTLED))


def test_a_schedule_that_moves_by_epochs_is_no_fault(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, schedule="step")
    scheduler, trainer.scheduler = trainer.scheduler, None
    for epoch in range(3):
        trainer.train(4)
        scheduler.step()  # type: ignore[union-attr]
        trainer.scheduler = scheduler
        trainer.save(f"epoch_{epoch}")
        trainer.scheduler = None
    assert [] == [f for f in scan(tmp_path, facts=facts(**SETTLED)).findings if f.severity != "info"]


def test_a_rate_that_is_not_the_schedules(tmp_path: Path) -> None:
    folder = run_of(tmp_path) / "step_6"
    groups = torch.load(folder / "optimizer.bin")["param_groups"]
    change(folder / "optimizer.bin", param_groups=[{**groups[0], "lr": 0.7}])
    assert ["R504"] == codes(judged(folder, **SETTLED))


@pytest.mark.parametrize("spoil", [lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:-40])])
def test_a_damaged_part_is_said(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folder = run_of(tmp_path) / "step_6"
    spoil(folder / "optimizer.bin")
    assert "broken" == judged(folder).verdict


def test_base_rates_with_which_the_schedule_stops_are_told(tmp_path: Path) -> None:
    folder = run_of(tmp_path, schedule="lambda") / "epoch_1"
    for wrong in ([float("nan")], [], None):
        change(folder / "scheduler.bin", base_lrs=wrong)
        assert judged(folder, **SETTLED).resume == "impossible"
