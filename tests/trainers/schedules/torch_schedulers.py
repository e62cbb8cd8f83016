"""Real schedulers of torch with generated parameters, and what they write while they are stepped."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch.optim import lr_scheduler

Optimizer = torch.optim.Optimizer
Build = Callable[[Optimizer], lr_scheduler.LRScheduler]

factors = st.floats(0.05, 1.0)
lengths = st.integers(1, 9)
rates = st.floats(1e-6, 1.0)
gammas = st.floats(0.1, 1.2)
momenta = st.floats(0.0, 0.99)

ARGUMENTS = {
    "StepLR": st.fixed_dictionaries({"step_size": lengths, "gamma": gammas}),
    "MultiStepLR": st.fixed_dictionaries({"milestones": st.lists(st.integers(0, 12), max_size=5), "gamma": gammas}),
    "ConstantLR": st.fixed_dictionaries({"factor": factors, "total_iters": st.integers(0, 9)}),
    "LinearLR": st.fixed_dictionaries({"start_factor": factors, "end_factor": factors, "total_iters": lengths}),
    "ExponentialLR": st.fixed_dictionaries({"gamma": gammas}),
    "PolynomialLR": st.fixed_dictionaries({"total_iters": lengths, "power": st.sampled_from([1, 1.0, 0.9, 2, 0.5])}),
    "CosineAnnealingLR": st.fixed_dictionaries({"T_max": lengths, "eta_min": st.sampled_from([0, 0.0, 1e-4])}),
    "CosineAnnealingWarmRestarts": st.fixed_dictionaries(
        {"T_0": st.integers(1, 6), "T_mult": st.integers(1, 3), "eta_min": st.sampled_from([0, 0.0, 1e-4])}
    ),
    "CyclicLR": st.fixed_dictionaries(
        {
            "base_lr": rates,
            "max_lr": rates,
            "step_size_up": lengths,
            "step_size_down": st.none() | lengths,
            "mode": st.sampled_from(["triangular", "triangular2", "exp_range"]),
            "gamma": gammas,
            "cycle_momentum": st.booleans(),
            "base_momentum": momenta,
            "max_momentum": momenta,
        }
    ),
    "OneCycleLR": st.fixed_dictionaries(
        {
            "max_lr": rates,
            "total_steps": st.integers(20, 60),
            "pct_start": st.floats(0.2, 0.45),
            "anneal_strategy": st.sampled_from(["cos", "linear"]),
            "three_phase": st.booleans(),
            "cycle_momentum": st.booleans(),
        }
    ),
}
"""Class -> arguments with which torch does not raise."""


@st.composite
def single(draw, kinds=tuple(ARGUMENTS)) -> Build:
    """One scheduler that holds all its parameters."""
    kind = draw(st.sampled_from(kinds))
    arguments = draw(ARGUMENTS[kind])
    return lambda optimizer: getattr(lr_scheduler, kind)(optimizer, **arguments)


@st.composite
def several(draw, kind: str) -> Build:
    """SequentialLR or ChainedScheduler of two to four of them; two OneCycleLRs would overwrite each other's keys."""
    kinds = draw(st.lists(st.sampled_from(list(ARGUMENTS)), min_size=2, max_size=4))
    assume(kinds.count("OneCycleLR") < 2)
    members = [draw(single([kind])) for kind in kinds]
    if kind == "ChainedScheduler":
        return lambda optimizer: lr_scheduler.ChainedScheduler([build(optimizer) for build in members])
    count = len(members) - 1
    milestones = draw(st.lists(st.integers(1, 15), min_size=count, max_size=count, unique=True).map(sorted))
    return lambda optimizer: lr_scheduler.SequentialLR(optimizer, [build(optimizer) for build in members], milestones)


def nested(optimizer: Optimizer) -> lr_scheduler.LRScheduler:
    """Two at once, and then a cosine."""
    both = lr_scheduler.ChainedScheduler(
        [lr_scheduler.ExponentialLR(optimizer, 0.9), lr_scheduler.StepLR(optimizer, 3)]
    )
    return lr_scheduler.SequentialLR(optimizer, [both, lr_scheduler.CosineAnnealingLR(optimizer, 7)], [4])


def optimizer_of(kind: str = "SGD", groups: int = 1, lr: float = 0.1) -> Optimizer:
    """An optimizer whose groups have different rates."""
    parameters = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr / (at + 1)} for at in range(groups)]
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9) if kind == "SGD" else torch.optim.Adam(parameters, lr=lr)


@dataclass(frozen=True)
class Moment:
    """What a checkpoint has of scheduler and optimizer."""

    state: dict
    groups: list

    @property
    def cycled(self) -> list[dict]:
        """What schedulers set in the groups."""
        return [{key: group[key] for key in ("lr", "betas", "momentum") if key in group} for group in self.groups]


def moments(build: Build, optimizer: Optimizer, steps: int) -> list[Moment]:
    """State and groups after 0, 1, ... `steps` steps."""
    scheduler = build(optimizer)
    optimizer.step()
    taken = []
    for step in range(steps + 1):
        if step:
            scheduler.step()
        taken.append(Moment(copy.deepcopy(scheduler.state_dict()), copy.deepcopy(optimizer.param_groups)))
    return taken


def adam(lr=0.01, groups=1):
    """An Adam of so many groups."""
    return torch.optim.Adam(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for _ in range(groups)], lr=lr, betas=(0.9, 0.999)
    )


def steps_of(scheduler, optimizer, count):
    """State and group after 0, 1, ... `count` steps, as torch has them."""
    yield scheduler.state_dict(), dict(optimizer.param_groups[0])
    optimizer.step()
    for _ in range(count):
        scheduler.step()
        yield scheduler.state_dict(), dict(optimizer.param_groups[0])


def same(moment, stepped):
    """Equal in all that a checkpoint holds, the order of the keys and the types of the numbers included."""
    assert repr(moment.state) == repr(stepped.state)
    assert repr(moment.cycled) == repr(list(stepped.groups))
