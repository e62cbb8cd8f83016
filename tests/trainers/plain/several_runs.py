"""Loops with several optimizers, in torch's own form: trained, saved once an epoch, resumed, and compared.

folder = run(tmp_path, GAN, "StepLR", None)
resumed(folder / "checkpoint_1.pt", GAN, "StepLR", None) == straight(GAN, "StepLR", None)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim

from tests.trainers.plain.plain_runs import BY_STEP, EPOCHS, SCHEDULES, STEPS

Saved = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """How a loop makes its models and optimizers, and under which keys it saves them: models, optimizers, schedulers.

    A key may be a pair: of a dict, or a number in a list."""

    make: Callable[[], tuple[list[nn.Module], list[optim.Optimizer]]]
    keys: Sequence[tuple[Any, Any, Any]]
    every: Sequence[int] = (1, 1, 1)
    """Of how many batches one is trained with each optimizer."""


def pair(rates: tuple[float, float] = (2e-3, 4e-3), second: type[optim.Optimizer] = optim.Adam) -> Any:
    """A generator and a discriminator."""

    def make() -> tuple[list[nn.Module], list[optim.Optimizer]]:
        models: list[nn.Module] = [
            nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)),
            nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 1)),
        ]
        one = optim.Adam(models[0].parameters(), lr=rates[0], betas=(0.5, 0.999))
        more = {"momentum": 0.9} if second is optim.SGD else {}
        return models, [one, second(models[1].parameters(), lr=rates[1], **more)]

    return make


def three() -> tuple[list[nn.Module], list[optim.Optimizer]]:
    """Three heads with an optimizer each."""
    models: list[nn.Module] = [nn.Linear(3, width) for width in (2, 4, 6)]
    return models, [optim.Adam(m.parameters(), lr=0.001 * (at + 1)) for at, m in enumerate(models)]


def parts(first: Callable[[Any], optim.Optimizer]) -> tuple[list[nn.Module], list[optim.Optimizer]]:
    """One model, of which one optimizer trains the matrices and the other the rest."""
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))
    matrices, rest = ([p for p in model.parameters() if (p.ndim == 2) == two] for two in (True, False))
    return [model], [first(matrices), optim.AdamW(rest, lr=0.002)]


DCGAN = [
    ("netG_state_dict", "optimizerG_state_dict", "schedulerG_state_dict"),
    ("netD_state_dict", "optimizerD_state_dict", "schedulerD_state_dict"),
]
GAN = Kind(pair(), DCGAN)
WGAN = Kind(pair(), DCGAN, (2, 1))
SGD = Kind(pair(second=optim.SGD), DCGAN)
ALIKE = Kind(pair((2e-3, 2e-3)), [("G", "optim_g_state_dict", "sched_g"), ("D", "optim_d_state_dict", "sched_d")])
ACTOR = Kind(pair(), [("actor", "actor_optimizer", "scheduler"), ("critic", "critic_optimizer", None)])
LISTS = Kind(three, [(("models", at), ("optimizers", at), ("schedulers", at)) for at in range(3)])
SPLIT = [
    ("model", ("optimizer", "matrices"), ("lr_scheduler", "matrices")),
    (None, ("optimizer", "rest"), ("lr_scheduler", "rest")),
]
PARTS = Kind(lambda: parts(lambda p: optim.SGD(p, lr=0.02, momentum=0.9)), SPLIT)
MUON = Kind(lambda: parts(lambda p: optim.Muon(p, lr=0.02)), SPLIT)
KINDS: Mapping[str, Kind] = {
    name: kind for name, kind in globals().items() if isinstance(kind, Kind) and name.isupper()
}


class Loop:
    """Models in training, each on what the one before it makes of the batch."""

    def __init__(self, kind: Kind, *schedules: str | None) -> None:
        torch.manual_seed(3)
        self.kind = kind
        self.models, self.optimizers = kind.make()
        given = [*schedules, *[None] * len(self.optimizers)]
        self.names = [name if keys[2] else None for name, keys in zip(given, kind.keys, strict=False)]
        makers = [SCHEDULES[name] if name else None for name in self.names]
        self.schedulers = [make(o) if make else None for make, o in zip(makers, self.optimizers, strict=True)]
        self.batches = torch.randn(STEPS, 8, 3, generator=torch.Generator().manual_seed(5))

    def train(self) -> None:
        """One epoch, without the steps of schedules that go by epochs."""
        for number, batch in enumerate(self.batches):
            for at, optimizer in enumerate(self.optimizers):
                if number % self.kind.every[at] == self.kind.every[at] - 1:
                    for one in self.optimizers:
                        one.zero_grad()
                    self.loss(batch).backward()
                    optimizer.step()
                    if self.names[at] in BY_STEP:
                        self.schedulers[at].step()

    def loss(self, batch: torch.Tensor) -> torch.Tensor:
        """Of all models: the second of two is fed by the first."""
        first, *others = (model(batch) for model in self.models)
        fed = [self.models[1](first)] if len(self.models) == 2 else others
        return torch.stack([(out - 1).pow(2).mean() for out in (first, *fed)]).sum()

    def step(self) -> None:
        """The steps of schedules that go by epochs."""
        for name, scheduler in zip(self.names, self.schedulers, strict=True):
            if scheduler is not None and name not in BY_STEP:
                scheduler.step()

    def saved(self, epoch: int) -> Saved:
        """Models, optimizers and schedulers under the keys of the kind."""
        value: Saved = {"epoch": epoch}
        held = [*self.models, *[None] * (len(self.optimizers) - len(self.models))]
        for column, things in enumerate((held, self.optimizers, self.schedulers)):
            for keys, thing in zip(self.kind.keys, things, strict=True):
                if thing is not None:
                    put(value, keys[column], thing.state_dict())
        return value

    def load(self, path: Path) -> int:
        """Take a file's state; its epoch."""
        value = torch.load(path, weights_only=False)
        held = [*self.models, *[None] * (len(self.optimizers) - len(self.models))]
        for column, things in enumerate((held, self.optimizers, self.schedulers)):
            for keys, thing in zip(self.kind.keys, things, strict=True):
                if thing is not None and (state := got(value, keys[column])) is not None:
                    thing.load_state_dict(state)
        return int(value["epoch"])

    @property
    def state(self) -> list[torch.Tensor]:
        """Everything that a resume must bring back."""
        states = [s for o in self.optimizers for s in o.state_dict()["state"].values()]
        moments = [t for s in states for t in s.values() if torch.is_tensor(t)]
        rates = [torch.tensor([g["lr"] for g in o.param_groups], dtype=torch.float64) for o in self.optimizers]
        weights = [t for model in self.models for t in model.state_dict().values()]
        return [t.clone() for t in (*weights, *moments, *rates)]


def put(value: Saved, key: Any, state: object) -> None:
    """Set a value under a key, or in a list or dict under it."""
    if not isinstance(key, tuple):
        value[key] = state
    elif isinstance(key[1], int):
        value.setdefault(key[0], []).append(state)
    else:
        value.setdefault(key[0], {})[key[1]] = state


def got(value: Saved, key: Any) -> Any:
    """Take out what is there, of a list the first; None where nothing is."""
    if not isinstance(key, tuple):
        return value.get(key)
    held = value.get(key[0])
    return (held.pop(0) if held else None) if isinstance(held, list) else (held or {}).get(key[1])


def run(folder: Path, kind: Kind, *schedules: str | None, before_step: bool = False, epochs: int = EPOCHS - 1) -> Path:
    """Train and save `checkpoint_N.pt` at each epoch's end."""
    loop = Loop(kind, *schedules)
    folder.mkdir(parents=True, exist_ok=True)
    for epoch in range(epochs):
        loop.train()
        if not before_step:
            loop.step()
        torch.save(loop.saved(epoch), folder / f"checkpoint_{epoch}.pt")
        if before_step:
            loop.step()
    return folder


def straight(kind: Kind, *schedules: str | None) -> list[torch.Tensor]:
    """The state of the uninterrupted run at the end."""
    loop = Loop(kind, *schedules)
    for _ in range(EPOCHS):
        loop.train()
        loop.step()
    return loop.state


def resumed(path: Path, kind: Kind, *schedules: str | None) -> list[torch.Tensor]:
    """The state at the end after a resume from a file, by a script that starts at `epoch + 1`."""
    loop = Loop(kind, *schedules)
    for _ in range(loop.load(path) + 1, EPOCHS):
        loop.train()
        loop.step()
    return loop.state
