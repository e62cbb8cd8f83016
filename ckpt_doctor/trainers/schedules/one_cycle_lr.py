"""OneCycleLR: the rate and the momentum of every step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ckpt_doctor.trainers.schedules.values import number, progress
from ckpt_doctor.types import Global, Opaque
from ckpt_doctor.types.record import record

Anneal = Literal["cos", "linear"]
MOST_PHASES = 3
"""With `three_phase`; a list in a file must not buy more time."""


@record(frozen=True)
class OneCyclePoint:
    """What OneCycleLR puts into a param group at one step."""

    lr: float
    momentum: float | None
    """`betas[0]` (Adam) or `momentum` (SGD); None when the schedule does not cycle it."""


def one_cycle(state: Mapping[Any, Any], group: Mapping[Any, Any], step: int) -> OneCyclePoint:
    """Rate and momentum of a param group after `step` scheduler steps (`last_epoch == step`).

    `state` is OneCycleLR's `state_dict()`; `group` holds `initial_lr`, `max_lr`, `min_lr` and, where momentum is
    cycled, `base_momentum`, `max_momentum`. Two and three phases, cosine and linear annealing. At
    `step == total_steps` the last phase is overshot by one step, as in torch; beyond it torch raises and so does this.

    Source: `OneCycleLR.get_lr`.
    """
    total_steps = number(state, "total_steps")
    if step > total_steps:
        raise ValueError(
            f"step {step} is past the end of the schedule ({total_steps:g} steps): OneCycleLR raises there"
        )
    phases = _phases_of(state)
    anneal = _anneal_of(state)
    start_step = 0.0
    for phase in phases[:-1]:
        if step <= number(phase, "end_step"):
            break
        start_step = number(phase, "end_step")
    else:
        phase = phases[-1]
    try:
        pct = (step - start_step) / (number(phase, "end_step") - start_step)
    except (ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"a phase of the OneCycleLR schedule has no length ({error})") from None
    lr = _anneal(anneal, _named(group, phase, "start_lr"), _named(group, phase, "end_lr"), pct)
    if not state.get("cycle_momentum"):
        return OneCyclePoint(lr, None)
    return OneCyclePoint(
        lr, _anneal(anneal, _named(group, phase, "start_momentum"), _named(group, phase, "end_momentum"), pct)
    )


def _phases_of(state: Mapping[Any, Any]) -> Sequence[Mapping[Any, Any]]:
    """The phases of a OneCycleLR state, also of files from torch < 1.7.

    Those have `step_size_up` (`float(pct_start * total_steps) - 1`) and `step_size_down` in place of
    `_schedule_phases`; only the two-phase form existed.
    """
    phases = state.get("_schedule_phases")
    if phases is None and "step_size_up" in state:
        return _two_phases(number(state, "step_size_up"), number(state, "total_steps") - 1)
    if not isinstance(phases, (list, tuple)) or not 1 <= len(phases) <= MOST_PHASES:
        raise ValueError("the OneCycleLR state has no usable _schedule_phases")
    if not all(isinstance(phase, Mapping) for phase in phases):
        raise ValueError("the OneCycleLR state has no usable _schedule_phases")
    return phases


def _anneal_of(state: Mapping[Any, Any]) -> Anneal:
    """`cos` or `linear`.

    Before torch 2.1 the state held the function itself (`anneal_func`), which a pickle names as an attribute of
    `OneCycleLR`.
    """
    kind = state.get("_anneal_func_type")
    if kind is None:
        kind = "linear" if _callable_name(state.get("anneal_func")).endswith("_annealing_linear") else "cos"
    if kind == "cos":
        return "cos"
    if kind == "linear":
        return "linear"
    raise ValueError(f"unknown anneal strategy {kind!r}")


def one_cycle_group(max_lr: float) -> dict[str, float]:
    """The keys that building a OneCycleLR adds to a param group of Adam. Source: `OneCycleLR.__init__`."""
    initial_lr = max_lr / 25.0
    momenta = {"max_momentum": 0.95, "base_momentum": 0.85}
    return {"initial_lr": initial_lr, "max_lr": max_lr, "min_lr": initial_lr / 1e4, **momenta}


def one_cycle_state(group: Mapping[Any, Any], total_steps: int, step: int, pct_start: float = 0.3) -> dict[str, Any]:
    """`state_dict()` of torch 2.13's OneCycleLR, of Adam and all else by default, after `step` steps.

    `group` is the only param group, with the keys of `one_cycle_group`; what the schedule puts into it at that step is
    `one_cycle(state, group, step)`.
    """
    state: dict[str, Any] = {
        "total_steps": total_steps,
        "_schedule_phases": _two_phases(float(pct_start * total_steps) - 1, total_steps - 1),
        "_anneal_func_type": "cos",
        "cycle_momentum": True,
        "use_beta1": True,
        "base_lrs": [number(group, "initial_lr")],
    }
    return state | progress(step, [one_cycle(state, group, step).lr])


def _two_phases(rise_end: float, end: float) -> list[dict[str, Any]]:
    """`_schedule_phases` of a OneCycleLR without `three_phase`. Source: `OneCycleLR.__init__`."""
    steps = (
        (rise_end, "initial_lr", "max_lr", "max_momentum", "base_momentum"),
        (end, "max_lr", "min_lr", "base_momentum", "max_momentum"),
    )
    keys = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")
    return [dict(zip(keys, step, strict=True)) for step in steps]


def _anneal(kind: Anneal, start: float, end: float, pct: float) -> float:
    """`OneCycleLR._annealing_cos` and `_annealing_linear`."""
    if kind == "linear":
        return (end - start) * pct + start
    cos_out = math.cos(math.pi * pct) + 1
    return end + (start - end) / 2.0 * cos_out


def _named(group: Mapping[Any, Any], phase: Mapping[Any, Any], role: str) -> float:
    """The number in `group` under the key that `phase` names for `role`."""
    return number(group, phase.get(role))


def _callable_name(value: object) -> str:
    """The last name of a pickled function reference; empty when it is something else."""
    if isinstance(value, Global):
        return value.name
    if isinstance(value, Opaque) and isinstance(value.args, tuple) and value.args:
        last = value.args[-1]
        return last if isinstance(last, str) else ""
    return getattr(value, "__name__", "")
