"""Files without their schedule: rebuilt from a sibling's, or what the script must do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt_doctor import facts, migrate, scan
from ckpt_doctor.types import FileReport
from tests.sampled import sampled
from tests.trainers.plain.plain_runs import BY_EPOCH, BY_STEP, EPOCHS, STEPS, Loop, resumed, run, same, straight

TOLD = {"resume_epoch": "label+1", "epoch_label": "finished", "shuffle": False}
NUMBER = 2
REBUILT = ["StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "LinearLR", "PolynomialLR", "LambdaLR"]
REBUILT += ["warm-up, then cosine", "warm restarts", "OneCycleLR", "CyclicLR", "LambdaLR by step"]


def without(folder: Path, *numbers: int) -> Path:
    """Take the schedule from files of a run; the path of the first."""
    for number in numbers:
        path = folder / f"checkpoint_{number}.pt"
        value = torch.load(path, weights_only=False)
        del value["scheduler_state_dict"]
        torch.save(value, path)
    return folder / f"checkpoint_{numbers[0]}.pt"


def judged(path: Path) -> FileReport:
    (found,) = [file for file in scan([path.parent], facts=facts(**TOLD)).files if file.checkpoint.path == path]
    return found


@pytest.mark.parametrize("optimizer", sampled(["AdamW", "two rates"], "two rates"))
@pytest.mark.parametrize("schedule", sampled(REBUILT, "StepLR", "LinearLR", "warm restarts", "OneCycleLR", "CyclicLR"))
def test_a_lost_schedule_is_a_siblings_at_this_files_position(tmp_path, schedule, optimizer):
    path = without(run(tmp_path, schedule, optimizer), NUMBER)
    assert [("R508", "sync-scheduler")] == [(f.code, f.migration) for f in judged(path).serious]
    (result,) = [result for result in migrate([tmp_path]) if result.path == path]
    assert result.status == "migrated"
    assert same(resumed(path, schedule, optimizer), straight(schedule, optimizer))
    assert judged(path).resume == "identical"


@pytest.mark.parametrize("schedule", ["StepLR", "CosineAnnealingLR", "warm-up, then cosine"])
def test_so_is_one_of_a_run_that_saves_before_its_step(tmp_path, schedule):
    """Its rates are of the step before, and move with the schedule."""
    path = without(run(tmp_path, schedule, before_step=True), NUMBER)
    (result,) = [result for result in migrate([tmp_path]) if result.path == path]
    assert result.status == "migrated"
    assert same(resumed(path, schedule), straight(schedule))


def test_rates_of_another_schedule_are_left_alone(tmp_path):
    path = without(run(tmp_path, "CosineAnnealingLR"), NUMBER)
    value = torch.load(path, weights_only=False)
    value["optimizer_state_dict"]["param_groups"][0]["lr"] = 0.123
    torch.save(value, path)
    assert [("R508", None)] == [(f.code, f.migration) for f in judged(path).serious]


def test_a_run_that_had_no_schedule_yet_lost_none(tmp_path):
    """No scheduler was ever attached to these optimizers."""
    run(tmp_path, "none", epochs=3)
    loop = Loop("StepLR")
    for epoch in range(EPOCHS):
        loop.train()
        loop.step()
        if epoch >= 3:
            torch.save(loop.saved(epoch), tmp_path / f"checkpoint_{epoch}.pt")
    assert {"R508"} & {f.code for f in scan([tmp_path]).findings} == set()


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("schedule", sampled([*BY_EPOCH, *BY_STEP], "StepLR", "CosineAnnealingLR", "OneCycleLR"))
def test_what_is_advised_to_the_script_makes_the_resume_identical(tmp_path, schedule):
    """Where no file has the schedule: step the fresh one, then load the optimizer."""
    path = without(run(tmp_path, schedule), NUMBER, 0, 1, 3, 4)
    loop, done = Loop(schedule), NUMBER + 1
    if any(f.code == "R508" for f in judged(path).findings):
        (found,) = [f for f in judged(path).findings if f.code == "R508"]
        assert f"{done} epochs are finished" in found.fix
    for _ in range(done * STEPS if schedule in BY_STEP else done):
        loop.scheduler.step()
    loop.load(path)
    for _ in range(done, EPOCHS):
        loop.train()
        loop.step()
    assert same(loop.state, straight(schedule))
