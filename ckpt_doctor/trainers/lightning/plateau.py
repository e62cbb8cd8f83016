"""ReduceLROnPlateau's next step, from the value that it monitors.

Source: torch/optim/lr_scheduler.py, `ReduceLROnPlateau.step` (2.13).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ckpt_doctor.trainers.lightning.callbacks import savers
from ckpt_doctor.trainers.schedules import Stepped
from ckpt_doctor.trainers.state import has_other_rates, integer
from ckpt_doctor.types import Evidence, Member, Run, mapping_of, real
from ckpt_doctor.types.record import once


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
    """Why a plateau's state or its rate cannot be gone on from; empty where nothing speaks against it.

    Its best value never worsens, so one that is worse than an earlier file's, or better than a later one's, is of
    another moment, where those two agree."""
    state = mapping_of(member.at("scheduler")) or {}
    for count, most in (("num_bad_epochs", "patience"), ("cooldown_counter", "cooldown")):
        if (integer(state.get(count)) or 0) > (integer(state.get(most)) or 0):
            return f"its {count} is more than its {most}"
    if has_other_rates(member) and not once(run, "rates by hand", lambda: all(map(has_other_rates, run.members))):
        return "the optimizer has another rate than the one that the schedule set last"
    turned = once(run, "turned plateaus", lambda: _turned(run.members))
    return "its best value is not between those of the files before and after" if member.label in turned else ""


def _turned(members: Sequence[Member]) -> frozenset[str]:
    """The files whose plateau has a best value outside of those of its neighbours."""
    held = [(member, mapping_of(member.at("scheduler")) or {}) for member in members]
    bests = [
        (member.state.global_step or 0, member.label, -best if state.get("mode") == "max" else best)
        for member, state in held
        if (best := real(state.get("best"))) is not None
    ]
    around = zip(sorted(bests), sorted(bests)[1:], sorted(bests)[2:], strict=False)
    return frozenset(
        own[1] for before, own, after in around if after[2] <= before[2] and not after[2] <= own[2] <= before[2]
    )


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
