"""Time-LLM's learning-rate modes (`--lradj`): which schedule moves when, and the rate at a position of training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpt_doctor.trainers import schedules
from ckpt_doctor.trainers.state import base_rates, numbers, param_groups
from ckpt_doctor.trainers.time_llm.modes import IDLE, PER_EPOCH, PER_STEP, adjust_learning_rate
from ckpt_doctor.types import Member, Rates, real, same_rate


def position(mode: str, *, global_step: int, finished_epochs: int, world_size: int) -> int:
    """`last_epoch` of an uninterrupted run: Accelerate steps a prepared scheduler `world_size` times per call."""
    if mode == PER_STEP:
        return world_size * global_step
    return world_size * finished_epochs if mode == PER_EPOCH else 0


def rates_at(member: Member, mode: str, last_epoch: int, finished_epochs: int) -> Rates | None:
    """The rates of an uninterrupted run; None where the file does not hold what the schedule needs.

    `last_epoch` is the scheduler's position in TST and COS, `finished_epochs` the epochs done in the idle modes.
    """
    scheduler, groups = member.at("scheduler"), param_groups(member)
    if not isinstance(scheduler, dict) or not groups:
        return None
    try:
        if mode == PER_STEP:
            points = [schedules.one_cycle(scheduler, group, last_epoch) for group in groups]
            lrs = tuple(_finite(point.lr) for point in points)
            momenta = tuple(point.momentum for point in points if point.momentum is not None)
            return Rates(lrs, momenta if len(momenta) == len(lrs) else None, lrs)
        if mode == PER_EPOCH:
            lrs = tuple(_finite(_cosine(scheduler, base, last_epoch)) for base in base_rates(member) or ())
            return Rates(lrs, None, lrs) if lrs else None
    except ValueError:
        return None
    bases = initial_rates(member)
    if len(bases) != len(groups):
        return None
    rate = idle_rate(mode, bases[0], finished_epochs)
    # adjust_learning_rate() sets one rate in every group (utils/tools.py); before its first call each has its own.
    return Rates(bases if rate is None else (rate,) * len(groups), None, bases)


def next_step_fails(member: Member) -> str:
    """Why the scheduler's next step raises or leaves its curve, computed as torch computes it.

    Empty where it does not, where the schedule is over (P404 and R505 speak of that) and where a key is absent (L302).
    """
    scheduler, last, total = member.at("scheduler"), member.state.last_epoch, member.state.total_steps
    if not isinstance(scheduler, dict) or last is None or (total is not None and last >= total):
        return ""
    try:
        for group in param_groups(member):
            if member.state.scheduler == "OneCycleLR":
                _finite(schedules.one_cycle(scheduler, group, last + 1).lr)
                if why := _momentum_stays(scheduler, group):
                    return why
            elif member.state.scheduler == "CosineAnnealingLR":
                lr, t_max, eta_min = real(group.get("lr")), real(scheduler.get("T_max")), real(scheduler.get("eta_min"))
                if lr is not None and t_max is not None and eta_min is not None:
                    _finite(schedules.next_cosine(lr, real(group.get("initial_lr")) or 0.0, t_max, eta_min, last + 1))
    except schedules.Absent:
        return ""
    except ValueError as error:
        return str(error)
    return ""


def _momentum_stays(scheduler: Mapping[Any, Any], group: Mapping[Any, Any]) -> str:
    """Why OneCycleLR no longer moves the momentum that it moved before; empty where it does, or never did."""
    of_adam = ["cycle_momentum", *(["use_beta1"] if "betas" in group and "momentum" not in group else [])]
    off = [key for key in of_adam if key in scheduler and not scheduler[key]]
    return f"{off[0]} is off, and Adam's betas stay where they are" if off and "base_momentum" in group else ""


def _finite(rate: float) -> float:
    if not math.isfinite(rate):
        raise ValueError(f"the schedule makes a rate of {rate}")
    return rate


def idle_rate(mode: str, base: float, finished_epochs: int) -> float | None:
    """The rate after `adjust_learning_rate(1..finished_epochs)`; None when no call has set one yet.

    type2 has no entry for most epochs: the rate of the last entry passed stays.
    """
    for epoch in range(min(finished_epochs, 100_000), 0, -1):
        rate = adjust_learning_rate(mode, base, epoch)
        if rate is not None:
            return rate
        if mode not in IDLE:
            break
    return None


def _cosine(scheduler: Mapping[Any, Any], base: float, last_epoch: int) -> float:
    """CosineAnnealingLR's rate after `last_epoch` steps; ValueError where the state lacks T_max or eta_min."""
    t_max, eta_min = real(scheduler.get("T_max")), real(scheduler.get("eta_min"))
    if t_max is None or eta_min is None:
        raise ValueError("no T_max or eta_min in the scheduler state")
    return schedules.cosine_annealing(base, t_max, eta_min, last_epoch)


def initial_rates(member: Member) -> tuple[float, ...]:
    """The rates that building OneCycleLR left in the groups (`max_lr / 25`): the base of an uninterrupted idle run.

    In the idle modes `_last_lr` keeps them to the last bit (0.0003999999999999993 where `initial_lr` is 0.0004).
    """
    for stored in (
        member.at("scheduler", "_last_lr") if member.at("scheduler", "last_epoch") == 0 else None,
        member.at("scheduler", "base_lrs"),
        [group.get("initial_lr") for group in param_groups(member)],
    ):
        if isinstance(stored, (list, tuple)) and (rates := numbers(stored)):
            return rates
    return ()


def idle_modes_of(member: Member, finished: Sequence[int], learning_rate: float | None) -> Iterator[str]:
    """The idle modes in which the optimizer's rate can be what it is after one of these numbers of finished epochs.

    A run resumed before has `--learning_rate` as its base instead of the initial rate (trainer contract: the trainer
    overwrites `args.learning_rate` at the end of epoch 0 only), so both are tried.
    """
    groups = param_groups(member)
    rate = real(groups[0].get("lr")) if groups else None
    initial = initial_rates(member)
    maximum = real(groups[0].get("max_lr")) if groups else None
    bases = {base for base in (*initial[:1], maximum, learning_rate) if base is not None}
    for mode in IDLE:
        for epochs in finished:
            expected = {idle_rate(mode, base, epochs) or base for base in bases}
            if any(same_rate(rate, value) for value in expected):
                yield mode
                break
