"""The schedulers that make each rate from the one before: StepLR, LinearLR, CosineAnnealingLR and their like.

torch computes from the optimizer's own rate, so a rate that was edited stays edited, and the last digits depend on the
order of the operations. Each function here reads the parameters of a class from its state and returns its `Recursion`.
Source: `get_lr` and `_get_closed_form_lr` of the class in `torch/optim/lr_scheduler.py` (torch 2.13).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ckpt_doctor.trainers.schedules.cosine_lr import next_cosine
from ckpt_doctor.trainers.schedules.values import number, power, whole
from ckpt_doctor.types.record import record

State = Mapping[Any, Any]
MOST_MILESTONES = 10_000


@record(frozen=True)
class Recursion:
    """How one scheduler makes its rates."""

    next: Callable[[int, float, float], float]
    """The rate of the step that raises `last_epoch` to the first argument, from the rate before and the base rate."""
    restarted: Callable[[float], float]
    """The rate at a milestone of SequentialLR, from the base rate: torch takes the closed form at epoch 0 there."""
    changes_at_start: bool
    """Whether building the scheduler applies `next` for epoch 0; the others leave the rate as it is."""


def step_lr(state: State) -> Recursion:
    """StepLR: times gamma every `step_size` epochs."""
    size, gamma = number(state, "step_size"), number(state, "gamma")
    return Recursion(
        lambda epoch, lr, base: lr if epoch == 0 or epoch % size != 0 else lr * gamma,
        lambda base: base * power(gamma, 0 // size),
        True,
    )


def multi_step_lr(state: State) -> Recursion:
    """MultiStepLR: times gamma at each milestone, as often as the Counter has it."""
    milestones, gamma = state.get("milestones"), number(state, "gamma")
    if not isinstance(milestones, Mapping):
        raise ValueError("milestones is not a Counter")

    def passed_at_start() -> int:
        if len(milestones) > MOST_MILESTONES:
            raise ValueError(f"more than {MOST_MILESTONES:,} milestones")
        return sum(whole(milestones, at) for at in milestones if isinstance(at, int) and at <= 0)

    return Recursion(
        lambda epoch, lr, base: lr * power(gamma, whole(milestones, epoch)) if epoch in milestones else lr,
        lambda base: base * power(gamma, passed_at_start()),
        True,
    )


def constant_lr(state: State) -> Recursion:
    """ConstantLR: a factor from the start until `total_iters`."""
    factor, total = number(state, "factor"), number(state, "total_iters")

    def next_rate(epoch: int, lr: float, base: float) -> float:
        if epoch == 0:
            return lr * factor
        return lr if epoch != total else lr * (1.0 / factor)

    return Recursion(next_rate, lambda base: base * (factor + (total <= 0) * (1 - factor)), True)


def linear_lr(state: State) -> Recursion:
    """LinearLR: from `start_factor` to `end_factor` in `total_iters` epochs."""
    start, end = number(state, "start_factor"), number(state, "end_factor")
    total = number(state, "total_iters")

    def next_rate(epoch: int, lr: float, base: float) -> float:
        if epoch == 0:
            return lr * start
        if epoch > total:
            return lr
        return lr * (1.0 + (end - start) / (total * start + (epoch - 1) * (end - start)))

    return Recursion(next_rate, lambda base: base * (start + (end - start) * min(total, 0) / total), True)


def exponential_lr(state: State) -> Recursion:
    """ExponentialLR: times gamma every epoch."""
    gamma = number(state, "gamma")
    return Recursion(lambda epoch, lr, base: lr * gamma, lambda base: base * power(gamma, 0), False)


def polynomial_lr(state: State) -> Recursion:
    """PolynomialLR: to zero in `total_iters` epochs."""
    total, exponent = number(state, "total_iters"), number(state, "power")

    def next_rate(epoch: int, lr: float, base: float) -> float:
        if epoch > total:
            return lr
        decay: float = power((1.0 - epoch / total) / (1.0 - (epoch - 1) / total), exponent)
        return lr * decay

    return Recursion(next_rate, lambda base: base * power(1.0 - min(total, 0) / total, exponent), False)


def cosine_annealing_lr(state: State) -> Recursion:
    """CosineAnnealingLR: half a cosine down to `eta_min` in `T_max` epochs, and up again."""
    t_max, eta_min = number(state, "T_max"), number(state, "eta_min")
    return Recursion(
        lambda epoch, lr, base: next_cosine(lr, base, t_max, eta_min, epoch),
        lambda base: eta_min + (base - eta_min) * (1 + math.cos(math.pi * 0 / t_max)) / 2,
        False,
    )


RECURSIONS: Mapping[str, Callable[[State], Recursion]] = {
    "StepLR": step_lr,
    "MultiStepLR": multi_step_lr,
    "ConstantLR": constant_lr,
    "LinearLR": linear_lr,
    "ExponentialLR": exponential_lr,
    "PolynomialLR": polynomial_lr,
    "CosineAnnealingLR": cosine_annealing_lr,
}
