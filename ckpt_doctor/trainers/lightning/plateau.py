"""ReduceLROnPlateau's next step, from the value that it monitors.

Source: torch/optim/lr_scheduler.py, `ReduceLROnPlateau.step` (2.13).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from ckpt_doctor.trainers.lightning.callbacks import savers
from ckpt_doctor.trainers.schedules import Stepped
from ckpt_doctor.trainers.state import has_other_rates, integer, param_groups
from ckpt_doctor.types import Evidence, Member, Run, mapping_of, real
from ckpt_doctor.types.record import once

_REMEMBERED = ("num_bad_epochs", "cooldown_counter", "best")


def step(state: Mapping[Any, Any], groups: Sequence[Mapping[str, Any]], value: float) -> Stepped | None:
    """The scheduler and the rates after `scheduler.step(value)`; None where the state lacks what that needs."""
    counts = ("patience", "cooldown", "cooldown_counter", "num_bad_epochs", "last_epoch")
    patience, cooldown, cooling, bad, last = (integer(state.get(name)) for name in counts)
    best, factor, threshold = (real(state.get(name)) for name in ("best", "factor", "threshold"))
    if patience is None or cooldown is None or cooling is None or bad is None or last is None:
        return None
    if best is None or factor is None or threshold is None:
        return None
    better = _is_better(state, value, best, threshold)
    best, bad = (value, 0) if better else (best, bad + 1)
    if cooling > 0:
        cooling, bad = cooling - 1, 0
    rates = _lowered(state, groups, factor if bad > patience else 1.0)
    if rates is None or better is None:
        return None
    if bad > patience:
        cooling, bad = cooldown, 0
    after = {**state, "best": best, "num_bad_epochs": bad, "cooldown_counter": cooling, "last_epoch": last + 1}
    if "_last_lr" in state:
        after["_last_lr"] = rates
    return Stepped(after, tuple({"lr": rate} for rate in rates))


def _lowered(state: Mapping[Any, Any], groups: Sequence[Mapping[str, Any]], factor: float) -> list[float] | None:
    """The rates times a factor, not below their least; a change smaller than `eps` is not made."""
    least, eps = state.get("min_lrs", [0.0] * len(groups)), real(state.get("eps"))
    if not isinstance(least, (list, tuple)) or len(least) != len(groups) or eps is None:
        return None
    rates: list[float] = []
    for group, bound in zip(groups, least, strict=True):
        rate, low = real(group.get("lr")), real(bound)
        if rate is None or low is None:
            return None
        lower = max(rate * factor, low)
        rates.append(lower if rate - lower > eps else rate)
    return rates


def _is_better(state: Mapping[Any, Any], value: float, best: float, threshold: float) -> bool | None:
    mode, how = state.get("mode"), state.get("threshold_mode")
    if mode == "min" and how == "rel":
        return value < best * (1.0 - threshold)
    if mode == "min" and how == "abs":
        return value < best - threshold
    if mode == "max" and how == "rel":
        return value > best * (threshold + 1.0)
    return value > best + threshold if mode == "max" and how == "abs" else None


def doubt(member: Member, run: Run) -> str:
    """Why a plateau's state or its rate cannot be gone on from; empty where nothing speaks against it."""
    if has_other_rates(member) and not once(run, "rates by hand", lambda: all(map(has_other_rates, run.members))):
        return "the optimizer has another rate than the one that the schedule set last"
    edited = once(run, "edited plateaus", lambda: _edited(run.members))
    return "its state does not follow from the one of the file before" if member.label in edited else ""


def _edited(members: Sequence[Member]) -> frozenset[str]:
    """The files whose plateau does not follow from the one before, or from which better the next one falls back.

    Of the first two it is the first where the third follows."""
    held = ((one.state.global_step or 0, one.label, mapping_of(one.at("scheduler")) or {}, one) for one in members)
    ordered = sorted((found for found in held if "num_bad_epochs" in found[2]), key=lambda found: found[:2])
    follows = [True, *(_follows(*before[2:], then[2]) for before, then in pairwise(ordered)), False]
    wrong = [at for at in range(1, len(ordered)) if follows[at - 1] and not follows[at]]
    states = [found[2] for found in ordered]
    is_before = {
        at: _worsens(*states[at - 1 : at + 1]) and not _worsens(*states[at - 2 : at + 1 : 2]) for at in wrong if at > 1
    }
    return frozenset(ordered[at - is_before.get(at, follows[2])][1] for at in wrong)


def _worsens(state: Mapping[Any, Any], then: Mapping[Any, Any]) -> bool:
    """Whether a later state has a worse best value, which no step makes."""
    best, later = real(state.get("best")), real(then.get("best"))
    return best is not None and later is not None and best != later and (later > best) != (state.get("mode") == "max")


def _follows(state: Mapping[Any, Any], member: Member, then: Mapping[Any, Any]) -> bool:
    """Whether a state may come after another: its best value tells whether the value between was better."""
    later = real(then.get("best"))
    if later is None or _worsens(state, then):
        return later is None
    if integer(then.get("last_epoch")) != (integer(state.get("last_epoch")) or 0) + 1:
        return True
    after = step(state, param_groups(member), later)
    return after is None or all(after.state[key] == then.get(key) for key in _REMEMBERED)


def monitored(member: Member, scores: Mapping[str, Counter[float]], state: Mapping[Any, Any]) -> Evidence[float] | None:
    """The value that the scheduler's next step gets; None where no file shows which of the scores it monitors.

    The scheduler's configuration is in no file. That it monitors what a ModelCheckpoint does is proven by `best`, which
    must be one of that callback's scores (`scores`, by the monitored value), and not the one that is to come.
    """
    best = real(state.get("best"))
    for saver in savers(member.checkpoint):
        current, known = real(saver.state.get("current_score")), scores.get(saver.monitor, Counter())
        if saver.monitor and current is not None and best is not None and best != current and known[best]:
            return Evidence(current, f"one step with {saver.monitor} {current:.7g}, the value that it monitors")
    return None
