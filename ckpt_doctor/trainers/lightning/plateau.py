"""ReduceLROnPlateau's next step, from the value that it monitors.

Source: torch/optim/lr_scheduler.py, `ReduceLROnPlateau.step` (2.13).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ckpt_doctor.trainers.lightning.callbacks import savers, score
from ckpt_doctor.trainers.schedules import Stepped
from ckpt_doctor.types import Evidence, Member, real


def step(state: Mapping[Any, Any], groups: Sequence[Mapping[str, Any]], value: float) -> Stepped | None:
    """The scheduler and the rates after `scheduler.step(value)`; None where the state lacks what that needs."""
    names = ("best", "factor", "patience", "cooldown", "cooldown_counter", "num_bad_epochs", "threshold", "last_epoch")
    held = {name: real(state.get(name)) for name in names}
    rates = [real(group.get("lr")) for group in groups]
    least = state.get("min_lrs", [0.0] * len(groups))
    if state.get("best") in (math.inf, -math.inf):
        held["best"] = state["best"]
    if None in held.values() or None in rates or not isinstance(least, (list, tuple)) or len(least) != len(rates):
        return None
    now: dict[str, Any] = {**held}
    for name in ("patience", "cooldown", "cooldown_counter", "num_bad_epochs", "last_epoch"):
        now[name] = int(now[name])
    bad, cooling, best = now["num_bad_epochs"], now["cooldown_counter"], now["best"]
    better = _is_better(state, value, best, now["threshold"])
    if better is None:
        return None
    best, bad = (value, 0) if better else (best, bad + 1)
    if cooling > 0:
        cooling, bad = cooling - 1, 0
    new = list(rates)
    if bad > now["patience"]:
        for index, (rate, low) in enumerate(zip(rates, least, strict=True)):
            lower = max(rate * now["factor"], real(low) or 0.0)
            if rate - lower > (real(state.get("eps")) or 0.0):
                new[index] = lower
        cooling, bad = now["cooldown"], 0
    after = {
        **state,
        "best": best,
        "num_bad_epochs": bad,
        "cooldown_counter": cooling,
        "last_epoch": now["last_epoch"] + 1,
    }
    if "_last_lr" in state:
        after["_last_lr"] = new
    return Stepped(after, tuple({"lr": rate} for rate in new))


def _is_better(state: Mapping[Any, Any], value: float, best: float, threshold: float) -> bool | None:
    mode, how = state.get("mode"), state.get("threshold_mode")
    if mode == "min" and how == "rel":
        return value < best * (1.0 - threshold)
    if mode == "min" and how == "abs":
        return value < best - threshold
    if mode == "max" and how == "rel":
        return value > best * (threshold + 1.0)
    return value > best + threshold if mode == "max" and how == "abs" else None


def monitored(member: Member, scores: Mapping[str, Counter[float]], state: Mapping[Any, Any]) -> Evidence[float] | None:
    """The value that the scheduler's next step gets; None where no file shows which of the scores it monitors.

    The scheduler's configuration is in no file. That it monitors what a ModelCheckpoint does is proven by `best`, which
    must be one of that callback's scores (`scores`, by the monitored value), and not the one that is to come.
    """
    best = real(state.get("best"))
    for saver in savers(member.checkpoint):
        current, known = score(saver.state.get("current_score")), scores.get(saver.monitor, Counter())
        if saver.monitor and current is not None and best is not None and best != current and known[best]:
            return Evidence(current, f"one step with {saver.monitor} {current:.7g}, the value that it monitors")
    return None
