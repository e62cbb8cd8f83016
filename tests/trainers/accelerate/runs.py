"""Folders in the form of `save_state`, without the library: accelerate/checkpointing.py, `save_accelerator_state`."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim import lr_scheduler as schedules

from ckpt_doctor import scan
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.types import FileReport

SCHEDULES = {
    "step": lambda o: schedules.StepLR(o, 4, 0.5),
    "onecycle": lambda o: schedules.OneCycleLR(o, 0.1, total_steps=24),
    "lambda": lambda o: schedules.LambdaLR(o, lambda step: 1 / (step + 1)),
    "plateau": lambda o: schedules.ReduceLROnPlateau(o, patience=1),
    "chained": lambda o: schedules.ChainedScheduler([schedules.StepLR(o, 4, 0.5), schedules.ExponentialLR(o, 0.9)]),
    "restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 5),
    "sequential": lambda o: schedules.SequentialLR(
        o, [schedules.ConstantLR(o, 0.1, 2), schedules.ExponentialLR(o, 0.9)], [2]
    ),
}

SETTLED = {"shuffle": False}
SHUFFLED = {"shuffle": True, "seedable_sampler": False}


class Trainer:
    """A loop of 4 batches an epoch that saves where it is told."""

    def __init__(self, run: Path, *, schedule: str = "step", world: int = 1, sgd: bool = False, each: int = 1) -> None:
        torch.manual_seed(0)
        self.run, self.world, self.each = run, world, each
        self.model = nn.Linear(2, 2)
        kind = torch.optim.SGD if sgd else torch.optim.AdamW
        self.optimizer = kind(self.model.parameters(), lr=0.1)
        self.scheduler = SCHEDULES[schedule](self.optimizer) if schedule else None
        self.batches = self.within = 0

    def train(self, batches: int, *, counted: bool = True) -> None:
        """So many batches, every `each` of which (and an epoch's last) make an optimizer step."""
        for _ in range(batches):
            self.batches += 1
            ends = self.batches % 4 == 0
            self.within = 0 if ends or not counted else self.within + 1
            self.model(torch.rand(1, 2)).sum().backward()
            if ends or self.batches % 4 % self.each == 0:
                self.optimizer.step()
                self.optimizer.zero_grad()
                for _ in range(self.world if self.scheduler else 0):
                    if isinstance(self.scheduler, schedules.ReduceLROnPlateau):
                        self.scheduler.step(1.0)
                    else:
                        self.scheduler.step()  # type: ignore[union-attr]

    def save(self, name: str, *, customs: int = 0, scaler: Mapping[str, Any] | None = None) -> Path:
        """What `save_state(name)` leaves."""
        folder = self.run / name
        folder.mkdir(parents=True)
        save_file(self.model.state_dict(), folder / "model.safetensors")
        torch.save(self.optimizer.state_dict(), folder / "optimizer.bin")
        if self.scheduler is not None:
            torch.save(self.scheduler.state_dict(), folder / "scheduler.bin")
        if scaler is not None:
            torch.save(scaler, folder / "scaler.pt")
        for rank in range(self.world):
            states = {
                "step": self.within,
                "random_state": random.getstate(),
                "numpy_random_seed": np.random.get_state(),
                "torch_manual_seed": torch.get_rng_state(),
            }
            torch.save(states, folder / f"random_states_{rank}.pkl")
        for number in range(customs):
            torch.save({"seen": self.batches}, folder / f"custom_checkpoint_{number}.pkl")
        return folder


def run_of(path: Path, *, ends: tuple[int, ...] = (4, 8, 12), inside: tuple[int, ...] = (6,), **how: Any) -> Path:
    """A run with `epoch_N` at its epochs' ends and `step_N` inside them."""
    trainer = Trainer(path, **how)
    for stop in sorted({*ends, *inside}):
        trainer.train(stop - trainer.batches)
        if stop in inside:
            trainer.save(f"step_{stop}")
        if stop in ends:
            torch.rand(1)  # a validation
            trainer.save(f"epoch_{stop // 4 - 1}")
    return path


def change(part: Path, **values: Any) -> None:
    """Set values of a part."""
    torch.save({**torch.load(part, weights_only=False), **values}, part)


def judged(folder: Path, **given: Any) -> FileReport:
    """What a scan of its run says of a folder."""
    (file,) = [f for f in scan(folder.parent, facts=facts(**given)).files if f.checkpoint.path == folder]
    return file


def codes(file: FileReport) -> list[str]:
    """Of all findings but notes."""
    return [finding.code for finding in file.findings if finding.severity != "info"]
