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


def one_cycle_phases(total_steps: int, pct_start: float = 0.3, three_phase: bool = False) -> list[dict[str, Any]]:
    """`_schedule_phases` of a OneCycleLR of `total_steps` steps that rises during the fraction `pct_start` of them.

    Source: `OneCycleLR.__init__`.
    """
    rise_end = float(pct_start * total_steps) - 1
    rise = _phase(rise_end, "initial_lr", "max_lr", "max_momentum", "base_momentum")
    if not three_phase:
        return [rise, _phase(total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
    return [
        rise,
        _phase(float(2 * pct_start * total_steps) - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
        _phase(total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
    ]


def _phases_of(state: Mapping[Any, Any]) -> Sequence[Mapping[Any, Any]]:
    """The phases of a OneCycleLR state, also of files from torch < 1.7.

    Those have `step_size_up` (`float(pct_start * total_steps) - 1`) and `step_size_down` in place of
    `_schedule_phases`; only the two-phase form existed.
    """
    phases = state.get("_schedule_phases")
    if phases is None and "step_size_up" in state:
        rise_end, end = number(state, "step_size_up"), number(state, "total_steps") - 1
        return [
            _phase(rise_end, "initial_lr", "max_lr", "max_momentum", "base_momentum"),
            _phase(end, "max_lr", "min_lr", "base_momentum", "max_momentum"),
        ]
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


def one_cycle_group(
    max_lr: float,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    base_momentum: float | None = 0.85,
    max_momentum: float | None = 0.95,
) -> dict[str, float]:
    """The keys that building a OneCycleLR adds to a param group, with torch's arithmetic and order.

    With `max_momentum=None` (`cycle_momentum=False`) the two momentum keys are left out.
    Source: `OneCycleLR.__init__`.
    """
    initial_lr = max_lr / div_factor
    group = {"initial_lr": initial_lr, "max_lr": max_lr, "min_lr": initial_lr / final_div_factor}
    if max_momentum is not None and base_momentum is not None:
        group |= {"max_momentum": max_momentum, "base_momentum": base_momentum}
    return group


def one_cycle_state(
    groups: Sequence[Mapping[Any, Any]],
    total_steps: int,
    step: int,
    *,
    pct_start: float = 0.3,
    anneal: Anneal = "cos",
    three_phase: bool = False,
    cycle_momentum: bool = True,
    use_beta1: bool = True,
) -> dict[str, Any]:
    """`state_dict()` of torch 2.13's OneCycleLR after `step` steps.

    `groups` are the optimizer's param groups with the keys of `one_cycle_group`; what the schedule puts into them at
    that step is `one_cycle(state, group, step)`.
    """
    state: dict[str, Any] = {
        "total_steps": total_steps,
        "_schedule_phases": one_cycle_phases(total_steps, pct_start, three_phase),
        "_anneal_func_type": anneal,
        "cycle_momentum": cycle_momentum,
    }
    if cycle_momentum:
        state["use_beta1"] = use_beta1
    state["base_lrs"] = [number(group, "initial_lr") for group in groups]
    return state | progress(step, [one_cycle(state, group, step).lr for group in groups])


def _phase(end_step: float, start_lr: str, end_lr: str, start_momentum: str, end_momentum: str) -> dict[str, Any]:
    return {
        "end_step": end_step,
        "start_lr": start_lr,
        "end_lr": end_lr,
        "start_momentum": start_momentum,
        "end_momentum": end_momentum,
    }


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
