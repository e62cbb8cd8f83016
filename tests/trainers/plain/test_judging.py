"""Runs of sound loops of every kind: no warning, whatever true fact is told; and what is called identical is."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from ckpt_doctor import facts, scan
from tests.trainers.plain.plain_runs import BY_STEP, OPTIMIZERS, SCHEDULES, STEPS, Loop, resumed, run, same, straight

Write = Callable[[Path], object]
TRUE = {"resume_epoch": "label+1", "epoch_label": "finished"}


def warnings(folder: Path, **told: Any) -> list[tuple[str, str]]:
    report = scan([folder], facts=facts(**told))
    assert report.files
    return [(f.code, f.message) for f in report.findings if f.severity != "info"]


def each_epoch(folder: Path, loop: Loop, save: Callable[[int], dict[str, Any]], epochs: int = 5) -> None:
    """Train and save what `save` makes of each epoch, after the scheduler's step."""
    for epoch in range(epochs):
        loop.train()
        loop.step()
        torch.save(save(epoch), folder / f"checkpoint_{epoch}.pt")


def adversaries(folder: Path) -> None:
    """A GAN: two models, two optimizers, in one file and in a file each."""
    one, other = Loop("StepLR"), Loop("StepLR", "two rates")
    for epoch in range(3):
        for loop in (one, other):
            loop.train()
            loop.step()
        both = {
            f"{name}_{key}": part for name, loop in (("G", one), ("D", other)) for key, part in loop.saved(0).items()
        }
        torch.save({"epoch": epoch, **both}, folder / f"both_{epoch}.pt")
        torch.save(one.saved(epoch), folder / f"G_{epoch}.pt")
        torch.save(other.saved(epoch), folder / f"D_{epoch}.pt")


def averaged(folder: Path) -> None:
    loop = Loop("CosineAnnealingLR")
    average = AveragedModel(loop.model)
    each_epoch(folder, loop, lambda epoch: loop.saved(epoch, ema_state_dict=average.state_dict()))


def within_epochs(folder: Path) -> None:
    """A file every three steps; the label is the epoch in which it lies."""
    loop, step = Loop("LambdaLR by step"), 0
    for epoch in range(4):
        for batch in loop.batches:
            loop.optimizer.zero_grad()
            loop.model(batch).pow(2).mean().backward()
            loop.optimizer.step()
            loop.scheduler.step()
            step += 1
            if step % 3 == 0:
                torch.save(loop.saved(epoch, step=step), folder / f"step_{step}.pt")


def accumulating(folder: Path) -> None:
    """A step of the optimizer for two batches, the scheduler with each batch."""
    loop = Loop("LambdaLR by step")
    for epoch in range(4):
        for number, batch in enumerate(loop.batches):
            loop.model(batch).pow(2).mean().backward()
            if number % 2:
                loop.optimizer.step()
                loop.optimizer.zero_grad()
                loop.scheduler.step()
                loop.scheduler.step()
        torch.save(loop.saved(epoch), folder / f"{epoch}.pt")


def unfrozen_later(folder: Path) -> None:
    loop = Loop("StepLR")
    loop.model[0].requires_grad_(False)

    def save(epoch: int) -> dict[str, Any]:
        if epoch == 1:
            loop.model[0].requires_grad_(True)
        return loop.saved(epoch)

    each_epoch(folder, loop, save)


def other_batches_later(folder: Path) -> None:
    """Resumed with batches of half the size: twice the steps in an epoch."""
    loop = Loop("StepLR")

    def save(epoch: int) -> dict[str, Any]:
        if epoch == 2:
            loop.batches = torch.cat([loop.batches, loop.batches])
        return loop.saved(epoch)

    each_epoch(folder, loop, save, 6)


def by_hand(folder: Path) -> None:
    """A rate that the script sets, without a scheduler."""
    loop = Loop()

    def save(epoch: int) -> dict[str, Any]:
        loop.optimizer.param_groups[0]["lr"] = 0.01 * 0.5**epoch
        return loop.saved(epoch)

    each_epoch(folder, loop, save)


def warm_restarts_by_batch(folder: Path) -> None:
    loop = Loop("warm restarts")

    def save(epoch: int) -> dict[str, Any]:
        loop.scheduler.step(epoch + (STEPS - 1) / STEPS)
        return loop.saved(epoch)

    for epoch in range(5):
        loop.train()
        torch.save(save(epoch), folder / f"{epoch}.pt")


def a_warm_up_of_its_own(folder: Path) -> None:
    loop = Loop("StepLR")
    for epoch in range(6):
        loop.train()
        if epoch >= 2:
            loop.step()
        torch.save(loop.saved(epoch), folder / f"{epoch}.pt")


def copies(folder: Path) -> None:
    """The best and the last file beside those of each epoch."""
    run(folder, "ExponentialLR")
    for name, epoch in (("best.pt", 2), ("last.pt", 4)):
        shutil.copy(folder / f"checkpoint_{epoch}.pt", folder / name)


def two_runs(folder: Path) -> None:
    """The second with another schedule and other batches, under names of its own."""
    run(folder, "StepLR")
    loop = Loop("CosineAnnealingLR")
    loop.batches = loop.batches[:3]
    for epoch in range(3):
        loop.train()
        loop.step()
        torch.save(loop.saved(epoch), folder / f"second_{epoch}.pt")


def before_training(folder: Path) -> None:
    """A file of the untrained model beside those of the epochs."""
    run(folder, "StepLR", label=1)
    torch.save(Loop("StepLR").saved(0), folder / "start.pt")


def with_a_scaler(folder: Path) -> None:
    loop, scaler = Loop("StepLR"), torch.amp.GradScaler("cpu")
    each_epoch(folder, loop, lambda epoch: loop.saved(epoch, scaler_state_dict=scaler.state_dict()))


def seldom(folder: Path) -> None:
    """Every second epoch is saved."""
    run(folder, "PolynomialLR")
    for epoch in (1, 3):
        (folder / f"checkpoint_{epoch}.pt").unlink()


def of_gradients_once(folder: Path) -> None:
    """One batch in an epoch: steps and epochs are one."""
    loop = Loop("CosineAnnealingLR")
    loop.batches = loop.batches[:1]
    each_epoch(folder, loop, loop.saved)


LOOPS: tuple[Write, ...] = (
    adversaries,
    averaged,
    within_epochs,
    accumulating,
    unfrozen_later,
    other_batches_later,
    by_hand,
    warm_restarts_by_batch,
    a_warm_up_of_its_own,
    copies,
    two_runs,
    before_training,
    with_a_scaler,
    seldom,
    of_gradients_once,
)


@pytest.mark.parametrize("write", [pytest.param(write, id=write.__name__) for write in LOOPS])  # type: ignore[attr-defined]
def test_an_unusual_loop_raises_no_warning(tmp_path, write: Write):
    write(tmp_path)
    assert [] == warnings(tmp_path)
    assert [] == warnings(tmp_path, resume_epoch="label+1")


@pytest.mark.long
@pytest.mark.parametrize(("schedule", "optimizer"), list(itertools.product(SCHEDULES, OPTIMIZERS)))
def test_a_usual_loop_raises_no_warning_and_is_identical_where_that_is_said(tmp_path, schedule, optimizer):
    """With the finished epoch as label and with the next one; each file of the run is resumed and compared."""
    whole = straight(schedule, optimizer)
    for label, told in ((0, TRUE), (1, {"resume_epoch": "label", "epoch_label": "next"})):
        folder = run(tmp_path / str(label), schedule, optimizer, label=label)
        assert [] == warnings(folder)
        assert [] == warnings(folder, **told)
        for file in scan([folder], facts=facts(**told, shuffle=False)).files:
            assert same(whole, resumed(file.checkpoint.path, schedule, optimizer, plus=1 - label))
            assert ("open" if schedule == "chained" else "identical") == file.resume


@pytest.mark.parametrize("schedule", BY_STEP)
def test_a_schedule_of_batches_is_identical(tmp_path, schedule):
    """Without a word on the label nothing is said to be identical."""
    folder = run(tmp_path, schedule)
    assert {"open"} == {file.resume for file in scan([folder]).files}
    assert {"identical"} == {file.resume for file in scan([folder], facts=facts(**TRUE, shuffle=False)).files}
