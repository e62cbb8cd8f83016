"""Runs of hand-written loops, in torch's own form: trained, saved once an epoch, resumed, and compared.

folder = run(tmp_path, "CosineAnnealingLR", before_step=True)
resumed(folder / "checkpoint_1.pt", "CosineAnnealingLR", start="label+1") == straight("CosineAnnealingLR", 2)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim
from torch.optim import lr_scheduler as sched

from ckpt_doctor import facts, scan
from ckpt_doctor.types import FileReport

STEPS = 4
EPOCHS = 6
Make = Callable[[optim.Optimizer], Any]

BY_EPOCH: Mapping[str, Make] = {
    "StepLR": lambda o: sched.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o: sched.MultiStepLR(o, [2, 3], 0.5),
    "ExponentialLR": lambda o: sched.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda o: sched.CosineAnnealingLR(o, EPOCHS, 1e-4),
    "LinearLR": lambda o: sched.LinearLR(o, 1.0, 0.1, total_iters=EPOCHS),
    "PolynomialLR": lambda o: sched.PolynomialLR(o, EPOCHS, 2.0),
    "warm restarts": lambda o: sched.CosineAnnealingWarmRestarts(o, 2, 2),
    "warm-up, then cosine": lambda o: sched.SequentialLR(
        o, [sched.LinearLR(o, 0.1, total_iters=2), sched.CosineAnnealingLR(o, 4)], [2]
    ),
    "LambdaLR": lambda o: sched.LambdaLR(o, lambda e: 0.8**e),
    "ConstantLR": lambda o: sched.ConstantLR(o, 0.3, total_iters=3),
}
BY_STEP: Mapping[str, Make] = {
    "OneCycleLR": lambda o: sched.OneCycleLR(o, 0.02, total_steps=EPOCHS * STEPS, cycle_momentum="betas" in o.defaults),
    "CyclicLR": lambda o: sched.CyclicLR(o, 1e-3, 1e-2, 3, cycle_momentum=False),
    "LambdaLR by step": lambda o: sched.LambdaLR(o, lambda s: min(1.0, (s + 1) / 10)),
}
OTHERS: Mapping[str, Make | None] = {
    "none": None,
    "plateau": lambda o: sched.ReduceLROnPlateau(o, factor=0.5, patience=0),
    "chained": lambda o: sched.ChainedScheduler([sched.ConstantLR(o, total_iters=2), sched.ExponentialLR(o, 0.9)], o),
}
SCHEDULES: Mapping[str, Make | None] = {**BY_EPOCH, **BY_STEP, **OTHERS}
OPTIMIZERS: Mapping[str, Callable[[Any], optim.Optimizer]] = {
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "SGD": lambda p: optim.SGD(p, lr=0.01, momentum=0.9),
    "two rates": lambda p: optim.Adam([{"params": p[:2], "lr": 0.002}, {"params": p[2:]}], lr=0.01),
}


class Loop:
    """A network in training on the same batches every epoch."""

    def __init__(self, schedule: str = "none", optimizer: str = "AdamW") -> None:
        torch.manual_seed(3)
        self.model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
        self.optimizer = OPTIMIZERS[optimizer](list(self.model.parameters()))
        make = SCHEDULES[schedule]
        self.scheduler = make(self.optimizer) if make else None
        self.by_step = schedule in BY_STEP
        self.batches = torch.randn(STEPS, 8, 3, generator=torch.Generator().manual_seed(5))
        self.loss = 0.0

    def train(self) -> None:
        """One epoch, without the step of a schedule that goes by epochs."""
        for batch in self.batches:
            self.optimizer.zero_grad()
            loss = (self.model(batch) - batch.sum(1, keepdim=True)).pow(2).mean()
            loss.backward()
            self.optimizer.step()
            if self.by_step:
                self.scheduler.step()
            self.loss = loss.item()

    def step(self) -> None:
        """The step of a schedule that goes by epochs."""
        if self.scheduler is not None and not self.by_step:
            self.scheduler.step(*([self.loss] if isinstance(self.scheduler, sched.ReduceLROnPlateau) else []))

    def saved(self, epoch: int, **more: Any) -> dict[str, Any]:
        """The dict of the saving tutorial."""
        schedule = {} if self.scheduler is None else {"scheduler_state_dict": self.scheduler.state_dict()}
        parts = {"model_state_dict": self.model.state_dict(), "optimizer_state_dict": self.optimizer.state_dict()}
        return {"epoch": epoch, **parts, **schedule, "loss": self.loss, **more}

    def load(self, path: Path) -> int:
        """Take a file's state; its epoch."""
        state = torch.load(path, weights_only=False)
        self.model.load_state_dict(state["model_state_dict"])
        self.optimizer.load_state_dict(state["optimizer_state_dict"])
        if self.scheduler is not None and "scheduler_state_dict" in state:
            self.scheduler.load_state_dict(state["scheduler_state_dict"])
        return int(state["epoch"])

    @property
    def state(self) -> list[torch.Tensor]:
        """Everything that a resume must bring back, to be compared bit for bit."""
        moments = [t for s in self.optimizer.state_dict()["state"].values() for t in s.values() if torch.is_tensor(t)]
        rates = [torch.tensor([g["lr"] for g in self.optimizer.param_groups], dtype=torch.float64)]
        return [t.clone() for t in (*self.model.state_dict().values(), *moments, *rates)]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    """Whether two states are one to the last bit."""
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def run(
    folder: Path,
    schedule: str = "none",
    optimizer: str = "AdamW",
    *,
    label: int = 0,
    before_step: bool = False,
    epochs: int = EPOCHS - 1,
    **more: Any,
) -> Path:
    """Train and save `checkpoint_N.pt` at each epoch's end; `label` is added to the index of the finished epoch."""
    loop = Loop(schedule, optimizer)
    folder.mkdir(parents=True, exist_ok=True)
    for epoch in range(epochs):
        loop.train()
        if before_step:
            torch.save(loop.saved(epoch + label, **more), folder / f"checkpoint_{epoch}.pt")
        loop.step()
        if not before_step:
            torch.save(loop.saved(epoch + label, **more), folder / f"checkpoint_{epoch}.pt")
    return folder


def straight(schedule: str, optimizer: str = "AdamW", epochs: int = EPOCHS) -> list[torch.Tensor]:
    """The state of the uninterrupted run after so many epochs."""
    loop = Loop(schedule, optimizer)
    for _ in range(epochs):
        loop.train()
        loop.step()
    return loop.state


def resumed(
    path: Path, schedule: str, optimizer: str = "AdamW", *, plus: int = 1, caught_up: int = 0
) -> list[torch.Tensor]:
    """The state at the end after a resume from a file; the script starts at its epoch and `plus`, and steps the
    scheduler so often after loading."""
    loop = Loop(schedule, optimizer)
    first = loop.load(path) + plus
    for _ in range(caught_up):
        loop.step()
    for _ in range(first, EPOCHS):
        loop.train()
        loop.step()
    return loop.state


def judged(path: Path, **given: Any) -> FileReport:
    """The only file, or the second of a run."""
    files = scan([path], facts=facts(**given)).files
    return files[min(1, len(files) - 1)]


def codes(file: FileReport) -> set[str]:
    """Of all findings but notes."""
    return {finding.code for finding in file.findings if finding.severity != "info"}


TOLD: Mapping[str, Any] = {"resume_epoch": "label+1", "epoch_label": "finished", "shuffle": False}
"""What a script of `run` would show."""
Change = Callable[[dict[str, Any], dict[str, Any]], object]
"""What is done to a file's dict, and that of another file."""


def changed(path: Path, change: Change, donor: Path | None = None) -> Path:
    """Rewrite a file with a part of another one."""
    value = torch.load(path, weights_only=False)
    change(value, torch.load(donor, weights_only=False) if donor else {})
    torch.save(value, path)
    return path


def judged_among_siblings(path: Path, **told: Any) -> FileReport:
    """One file of its folder."""
    (found,) = [file for file in scan([path.parent], facts=facts(**told)).files if file.checkpoint.path == path]
    return found


def serious(file: FileReport) -> list[tuple[str, str | None]]:
    """Code and migration of all findings but notes."""
    return [(found.code, found.migration) for found in file.findings if found.severity != "info"]


LABEL: Change = lambda value, _: value.update(epoch=9)  # noqa: E731
