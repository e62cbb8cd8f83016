"""Trains and resumes with the real library: the loop of examples/by_feature/checkpointing.py, and that of diffusers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import accelerate
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch import nn
from torch.optim import lr_scheduler as schedules
from torch.utils.data import DataLoader, TensorDataset

Row = tuple[int, int, float, float]
"""Epoch, first element of the batch, loss, rate."""


@dataclass(frozen=True)
class Job:
    """A training command."""

    schedule: str = "step"
    optimizer: str = "adam"
    loop: str = "example"
    """`example`: skips batches on a resume; `diffusers`: begins the epoch again."""
    epochs: int = 3
    batches: int = 6
    shuffle: bool = False
    dropout: float = 0.0
    accumulation: int = 1
    every: int = 0
    """Batches (`diffusers`: optimizer steps) between two folders; 0: none inside an epoch."""
    by_epoch: bool = True
    seedable: bool = False
    schedule_by_epoch: bool = False
    """Whether the schedule is stepped once an epoch, after its validation."""
    late_schedule: bool = False
    """Whether the folder is saved before the schedule's step."""
    safe: bool = True


def _scheduler(name: str, optimizer: torch.optim.Optimizer, steps: int) -> Any:
    if name == "lambda":
        return schedules.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / (steps + 1)))
    if name == "sequential":
        parts = [schedules.LinearLR(optimizer, 0.1, total_iters=3), schedules.CosineAnnealingLR(optimizer, steps)]
        return schedules.SequentialLR(optimizer, parts, milestones=[3])
    return {
        "step": lambda: schedules.StepLR(optimizer, 4, 0.7),
        "onecycle": lambda: schedules.OneCycleLR(optimizer, 0.05, total_steps=steps),
        "cosine": lambda: schedules.CosineAnnealingLR(optimizer, steps),
        "exponential": lambda: schedules.ExponentialLR(optimizer, 0.9),
        "linear": lambda: schedules.LinearLR(optimizer, 0.1, total_iters=10),
        "restarts": lambda: schedules.CosineAnnealingWarmRestarts(optimizer, 5),
        "multistep": lambda: schedules.MultiStepLR(optimizer, [8, 16], 0.5),
        "polynomial": lambda: schedules.PolynomialLR(optimizer, steps, 0.9),
    }[name]()


def _optimizer(name: str, model: nn.Module) -> torch.optim.Optimizer:
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return kind(model.parameters(), lr=0.02)


def train(job: Job, out: Path, resume: Path | None = None) -> tuple[list[Row], dict[str, torch.Tensor]]:
    """Train, saving folders below `out`; from `resume` on, where that is given. Returns rows and weights."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    set_seed(7)
    config = DataLoaderConfiguration(use_seedable_sampler=job.seedable)
    accelerator = accelerate.Accelerator(
        cpu=True, gradient_accumulation_steps=job.accumulation, dataloader_config=config
    )
    data = torch.arange(job.batches * 2.0)
    inputs = torch.stack([torch.sin(data), torch.cos(data), data], 1)
    model: nn.Module = nn.Sequential(nn.Linear(2, 4), nn.Dropout(job.dropout), nn.Tanh(), nn.Linear(4, 1))
    optimizer = _optimizer(job.optimizer, model)
    per_epoch = -(-job.batches // job.accumulation)
    scheduler = _scheduler(job.schedule, optimizer, job.epochs * per_epoch) if job.schedule else None
    loader = DataLoader(TensorDataset(inputs), batch_size=2, shuffle=job.shuffle)
    held_out = DataLoader(TensorDataset(inputs[:4]), batch_size=2)
    parts = [model, optimizer, loader, held_out, *([scheduler] if scheduler else [])]
    model, optimizer, loader, held_out, *rest = accelerator.prepare(*parts)
    scheduler = rest[0] if rest else None
    first, skip, batches, steps = 0, 0, 0, 0
    if resume is not None:
        accelerator.load_state(str(resume))
        kind, number = re.fullmatch(r"([a-z]+[_-])(\d+)", resume.name).groups()  # type: ignore[union-attr]
        if kind == "epoch_":
            first = int(number) + 1
        elif kind == "step_":
            first, skip = divmod(int(number), job.batches)
        else:
            first, steps = int(number) // per_epoch, int(number)
        batches = first * job.batches + skip
    rows: list[Row] = []

    def save(name: str) -> None:
        if resume is None:
            accelerator.save_state(str(out / name), safe_serialization=job.safe)

    for epoch in range(first, job.epochs):
        active = accelerator.skip_first_batches(loader, skip) if skip and epoch == first else loader
        model.train()
        for (batch,) in active:
            with accelerator.accumulate(model):
                loss = model(batch[:, :2]).pow(2).mean()
                accelerator.backward(loss)
                rows.append((epoch, int(batch[0, 2]), float(loss.detach()), optimizer.param_groups[0]["lr"]))
                optimizer.step()
                batches += 1
                steps += accelerator.sync_gradients
                if job.late_schedule and job.every and batches % job.every == 0:
                    save(f"step_{batches}")
                if scheduler is not None and not job.schedule_by_epoch:
                    scheduler.step()
                optimizer.zero_grad()
            if job.late_schedule or not job.every:
                continue
            if job.loop == "example" and batches % job.every == 0:
                save(f"step_{batches}")
            if job.loop == "diffusers" and accelerator.sync_gradients and steps % job.every == 0:
                save(f"checkpoint-{steps}")
        model.eval()
        for (batch,) in held_out:
            model(batch[:, :2])
        if scheduler is not None and job.schedule_by_epoch:
            scheduler.step()
        if job.by_epoch:
            save(f"epoch_{epoch}")
    return rows, {name: value.clone() for name, value in accelerator.unwrap_model(model).state_dict().items()}


def resumes_identically(job: Job, folder: Path, whole: tuple[list[Row], dict[str, torch.Tensor]]) -> bool:
    """Whether a resume from a folder comes to the same batches, losses, rates and weights, to the last bit."""
    rows, weights = train(job, folder.parent, folder)
    same = rows == whole[0][len(whole[0]) - len(rows) :]
    return same and all(torch.equal(value, whole[1][name]) for name, value in weights.items())
