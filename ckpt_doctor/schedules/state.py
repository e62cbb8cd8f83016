"""Any torch scheduler's state: which one it is, and whether its numbers agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ckpt_doctor.schedules.one_cycle_lr import one_cycle
from ckpt_doctor.schedules.values import is_number, number

_KEYS: tuple[tuple[str, frozenset[str]], ...] = (
    ("OneCycleLR", frozenset({"total_steps", "_schedule_phases"})),
    ("OneCycleLR", frozenset({"total_steps", "step_size_up"})),
    ("CosineAnnealingLR", frozenset({"T_max", "eta_min"})),
    ("CosineAnnealingWarmRestarts", frozenset({"T_0", "T_i", "T_cur"})),
    ("ReduceLROnPlateau", frozenset({"num_bad_epochs", "patience"})),
    ("SequentialLR", frozenset({"_schedulers", "_milestones"})),
    ("ChainedScheduler", frozenset({"_schedulers"})),
    ("CyclicLR", frozenset({"total_size", "step_ratio"})),
    ("LambdaLR", frozenset({"lr_lambdas"})),
    ("MultiStepLR", frozenset({"milestones", "gamma"})),
    ("StepLR", frozenset({"step_size", "gamma"})),
    ("LinearLR", frozenset({"start_factor", "end_factor"})),
    ("PolynomialLR", frozenset({"power", "total_iters"})),
    ("ConstantLR", frozenset({"factor", "total_iters"})),
    ("ExponentialLR", frozenset({"gamma"})),
)
"""A torch scheduler by keys that only its state has, most telling first. MultiplicativeLR looks like LambdaLR."""

_UNCOUNTED = ("CosineAnnealingWarmRestarts", "ReduceLROnPlateau", "SequentialLR", "ChainedScheduler", "")
"""Kinds whose `step` is their own and does not count in `_step_count`, and the unknown kind."""


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """Two numbers of a scheduler's state that cannot both be right."""

    kind: Literal["type", "step-count", "groups", "last-lr"]
    key: str
    found: object
    expected: object
    message: str


def scheduler_kind(state: Mapping[Any, Any]) -> str:
    """The class name of the torch scheduler whose state this is (`OneCycleLR`); empty when no torch scheduler fits."""
    return next((name for name, keys in _KEYS if keys <= state.keys()), "")


def inconsistencies(
    state: Mapping[Any, Any], groups: Sequence[Mapping[Any, Any]] = (), *, fresh: bool = False
) -> list[Inconsistency]:
    """What in the state of a scheduler contradicts itself or the optimizer's param groups.

    Only what no healthy use of torch's schedulers leads to. `_step_count == last_epoch + 1` is not among that: a
    scheduler built with `last_epoch=N`, stepped with `step(epoch)`, or one under Accelerate's gradient accumulation
    (which counts in `_step_count` only) breaks it. `fresh=True` says that the scheduler was built without `last_epoch`
    and stepped by plain `step()`, as Time-LLM does; then it is checked, where the kind counts its steps at all.

    The states inside a SequentialLR or ChainedScheduler are not looked into: those not yet begun stand one step back.
    """
    kind = scheduler_kind(state)
    found = [
        Inconsistency("type", key, state[key], "a number", f"{key} is not a number")
        for key in ("last_epoch", "_step_count")
        if key in state and not is_number(state[key])
    ]
    if found:
        return found
    if fresh and kind not in _UNCOUNTED and "last_epoch" in state and "_step_count" in state:
        steps, expected = number(state, "_step_count"), number(state, "last_epoch") + 1
        if steps != expected:
            found.append(
                Inconsistency("step-count", "_step_count", steps, expected, "_step_count is not last_epoch + 1")
            )
    return found + _group_mismatch(kind, state, groups) + _last_lr_mismatch(kind, state, groups)


def _group_mismatch(kind: str, state: Mapping[Any, Any], groups: Sequence[Mapping[Any, Any]]) -> list[Inconsistency]:
    """Rates for another number of groups than there are, where the next `step()` pairs them one to one.

    Not so in StepLR and its kin, which read the groups only and so survive `add_param_group`.
    """
    key = {"LambdaLR": "lr_lambdas", "OneCycleLR": "_last_lr"}.get(kind, "base_lrs")
    rates = state.get(key)
    if kind not in ("LambdaLR", "CyclicLR", "CosineAnnealingWarmRestarts", "OneCycleLR") or not groups:
        return []
    if not isinstance(rates, (list, tuple)) or len(rates) == len(groups):
        return []
    message = f"{key} is for {len(rates)} param groups and the optimizer has {len(groups)}"
    return [Inconsistency("groups", key, len(rates), len(groups), message)]


def _last_lr_mismatch(kind: str, state: Mapping[Any, Any], groups: Sequence[Mapping[Any, Any]]) -> list[Inconsistency]:
    """`_last_lr` that is not what the schedule gives at `last_epoch`, for the kinds that ignore the rate before."""
    last_lr = state.get("_last_lr")
    if not isinstance(last_lr, (list, tuple)) or not all(is_number(lr) for lr in last_lr):
        return []  # absent (torch < 1.4), or tensors, whose values are not read
    rates = [float(number({"lr": lr}, "lr")) for lr in last_lr]
    expected = list(rates)
    try:
        if kind == "OneCycleLR" and len(groups) == len(rates):
            expected = [one_cycle(state, group, int(number(state, "last_epoch"))).lr for group in groups]
        elif kind == "CosineAnnealingWarmRestarts":
            position, length, eta_min = (number(state, key) for key in ("T_cur", "T_i", "eta_min"))
            base_lrs = [number({"base_lr": base}, "base_lr") for base in state.get("base_lrs", ())]
            expected = [
                eta_min + (base - eta_min) * (1 + math.cos(math.pi * position / length)) / 2 for base in base_lrs
            ]
    except (ValueError, ArithmeticError):
        return []  # a damaged schedule, which is another finding than this one
    if len(expected) == len(rates) and all(map(_close, rates, expected)):
        return []
    message = "_last_lr is not the schedule's rate at its own position"
    return [Inconsistency("last-lr", "_last_lr", rates, expected, message)]


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-15)
