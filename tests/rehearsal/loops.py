"""Small training loops of every habit, recorded in this process."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from ckpt_doctor.rehearsal import record
from ckpt_doctor.rehearsal.traces import Trace, read_traces

STEPS = 6
"""Of an epoch."""


@dataclass(frozen=True)
class Habits:
    """How a loop is written; `save` is `before` or `after` the schedule's step, `every` in steps (0: at epoch ends)."""

    schedule: str = "step"
    save: str = "after"
    every: int = 0
    label: int = 1
    """What is added to the 0-based epoch in the file."""
    shuffle: bool = True
    epochs: int = 4
    optimizer: Callable[..., Any] = torch.optim.AdamW
    accumulate: int = 1
    buffer: bool = False
    fetch_ahead: bool = False


class Model(nn.Sequential):
    """Four layers with dropout, so that random numbers are drawn in each step."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 1))


def train(habits: Habits, folder: Path, resume: Path | None = None, until: int | None = None) -> nn.Module:
    """Train, and save into `folder`; `until` steps at most."""
    torch.manual_seed(7)
    random.seed(7)
    model = Model()
    optimizer = habits.optimizer(model.parameters(), lr=0.01)
    length = habits.epochs * (STEPS if habits.schedule == "step" else 1)
    schedule = lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=length + 1, cycle_momentum=False)
    x = torch.linspace(-1, 1, 4 * STEPS * habits.accumulate * 2).reshape(-1, 4)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=2, shuffle=habits.shuffle)
    start = made = 0
    if resume is not None:
        file = torch.load(resume, weights_only=False)
        model.load_state_dict(file["model"])
        optimizer.load_state_dict(file["optimizer"])
        schedule.load_state_dict(file["scheduler"])
        start = file["epoch"] + 1 - habits.label

    def save(epoch: int) -> None:
        states = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": schedule.state_dict()}
        content = {**states, "epoch": epoch + habits.label}
        path = folder / (f"step{made}.pt" if habits.every else f"epoch{epoch}.pt")
        if habits.buffer:
            buffer = io.BytesIO()
            torch.save(content, buffer)
            path.write_bytes(buffer.getvalue())
        else:
            torch.save(content, path)

    for epoch in range(start, habits.epochs):
        batches = list(loader) if habits.fetch_ahead else loader
        for n, (inputs, wanted) in enumerate(batches):
            loss = nn.functional.mse_loss(model(inputs), wanted) / habits.accumulate
            loss.backward()
            if (n + 1) % habits.accumulate:
                continue
            optimizer.step()
            optimizer.zero_grad()
            made += 1
            saves = habits.every and made % habits.every == 0
            if saves and habits.save == "before":
                save(epoch)
            if habits.schedule == "step":
                schedule.step()
            if saves and habits.save == "after":
                save(epoch)
            if made == until:
                return model
        if not habits.every and habits.save == "before":
            save(epoch)
        if habits.schedule == "epoch":
            schedule.step()
        if not habits.every and habits.save == "after":
            save(epoch)
    return model


def recorded(habits: Habits, folder: Path, name: str = "run.trace", **more: Any) -> Trace:
    """The trace of that training."""
    folder.mkdir(exist_ok=True)
    with record(folder / name) as trace:
        train(habits, folder, **more)
    return read_traces(trace)[0]
