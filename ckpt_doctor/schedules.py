"""Learning-rate schedules as pure functions of the step, equal to PyTorch's to the last bit.

The arithmetic, its order included, is that of `torch/optim/lr_scheduler.py` (torch 2.13), named at each function.
Nothing here needs torch: a scheduler is its `state_dict()`, an optimizer its param groups, both plain mappings.
Values that a schedule cannot work with (a missing key, text for a number, a division by zero that torch would hit as
well) raise `ValueError` with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ckpt_doctor.types import Global, NumpyScalar, Opaque

Anneal = Literal["cos", "linear"]

LONGEST_RECURSION = 2_000_000
"""Steps that `cosine_annealing` is willing to walk (about a second); a number in a file must not buy more time."""


# --- OneCycleLR ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
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
    total_steps = _number(state, "total_steps")
    if step > total_steps:
        raise ValueError(
            f"step {step} is past the end of the schedule ({total_steps:g} steps): OneCycleLR raises there"
        )
    phases = one_cycle_phases_of(state)
    anneal = one_cycle_anneal(state)
    start_step = 0.0
    for phase in phases[:-1]:
        if step <= _number(phase, "end_step"):
            break
        start_step = _number(phase, "end_step")
    else:
        phase = phases[-1]
    try:
        pct = (step - start_step) / (_number(phase, "end_step") - start_step)
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


def one_cycle_phases_of(state: Mapping[Any, Any]) -> Sequence[Mapping[Any, Any]]:
    """The phases of a OneCycleLR state, also of files from torch < 1.7.

    Those have `step_size_up` (`float(pct_start * total_steps) - 1`) and `step_size_down` in place of
    `_schedule_phases`; only the two-phase form existed.
    """
    phases = state.get("_schedule_phases")
    if phases is None and "step_size_up" in state:
        rise_end, end = _number(state, "step_size_up"), _number(state, "total_steps") - 1
        return [
            _phase(rise_end, "initial_lr", "max_lr", "max_momentum", "base_momentum"),
            _phase(end, "max_lr", "min_lr", "base_momentum", "max_momentum"),
        ]
    if not isinstance(phases, (list, tuple)) or not phases or not all(isinstance(p, Mapping) for p in phases):
        raise ValueError("the OneCycleLR state has no usable _schedule_phases")
    return phases


def one_cycle_anneal(state: Mapping[Any, Any]) -> Anneal:
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
    state["base_lrs"] = [_number(group, "initial_lr") for group in groups]
    return state | _progress(step, [one_cycle(state, group, step).lr for group in groups])


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
    return _number(group, phase.get(role))


def _callable_name(value: object) -> str:
    """The last name of a pickled function reference; empty when it is something else."""
    if isinstance(value, Global):
        return value.name
    if isinstance(value, Opaque) and isinstance(value.args, tuple) and value.args:
        last = value.args[-1]
        return last if isinstance(last, str) else ""
    return getattr(value, "__name__", "")


# --- CosineAnnealingLR -----------------------------------------------------------------------------------------------


def next_cosine(lr: float, base_lr: float, T_max: float, eta_min: float, last_epoch: int) -> float:
    """The rate that CosineAnnealingLR makes of `lr` in the step that raises `last_epoch` to the given value (>= 1).

    torch computes each rate from the one before, so a rate that was edited stays edited.
    Source: `CosineAnnealingLR.get_lr`.
    """
    try:
        if (last_epoch - 1 - T_max) % (2 * T_max) == 0:  # leaving the minimum, where the ratio below is 0 / 0
            return lr + (base_lr - eta_min) * (1 - math.cos(math.pi / T_max)) / 2
        return (1 + math.cos(math.pi * last_epoch / T_max)) / (1 + math.cos(math.pi * (last_epoch - 1) / T_max)) * (
            lr - eta_min
        ) + eta_min
    except (ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"CosineAnnealingLR cannot be computed with T_max={T_max} ({error})") from None


def cosine_annealing(base_lr: float, T_max: float, eta_min: float, epoch: int) -> float:
    """Rate after `epoch` steps of a CosineAnnealingLR, by torch's recursion.

    The closed form differs from it in the last digits from a few steps on (`cosine_closed_form`): a file written by a
    trainer holds this one.
    """
    if epoch > LONGEST_RECURSION:
        raise ValueError(f"{epoch} steps of CosineAnnealingLR are more than are walked one by one")
    lr = base_lr
    for last_epoch in range(1, epoch + 1):
        lr = next_cosine(lr, base_lr, T_max, eta_min, last_epoch)
    return lr


def cosine_closed_form(base_lr: float, T_max: float, eta_min: float, epoch: int) -> float:
    """The same rate without recursion: what torch uses for `step(epoch)`.

    Source: `CosineAnnealingLR._get_closed_form_lr`.
    """
    try:
        return eta_min + (base_lr - eta_min) * (1 + math.cos(math.pi * epoch / T_max)) / 2
    except (ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"CosineAnnealingLR cannot be computed with T_max={T_max} ({error})") from None


def cosine_annealing_state(base_lrs: Sequence[float], T_max: int, eta_min: float, step: int) -> dict[str, Any]:
    """`state_dict()` of torch 2.13's CosineAnnealingLR after `step` steps."""
    state: dict[str, Any] = {"T_max": T_max, "eta_min": eta_min, "base_lrs": list(base_lrs)}
    return state | _progress(step, [cosine_annealing(base, T_max, eta_min, step) for base in base_lrs])


def _progress(step: int, last_lr: list[float]) -> dict[str, Any]:
    """The keys that every scheduler has, in torch's order. Source: `LRScheduler.__init__`, `_initial_step`, `step`."""
    return {
        "last_epoch": step,
        "_step_count": step + 1,
        "_is_initial": False,
        "_get_lr_called_within_step": False,
        "_last_lr": last_lr,
    }


def _number(mapping: Mapping[Any, Any], key: object) -> float:
    """`mapping[key]` as a Python number of its own type (ints stay ints: the arithmetic depends on it)."""
    value = mapping.get(key)
    if isinstance(value, NumpyScalar):
        value = value.value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key} is {'absent' if value is None else 'not a number'}")
    return value


# --- adjust_learning_rate --------------------------------------------------------------------------------------------

ADJUST_MODES = ("type1", "type2", "type3", "PEMS", "constant")

TYPE2_RATES: Mapping[int, float] = {2: 5e-5, 4: 1e-5, 6: 5e-6, 8: 1e-6, 10: 5e-7, 15: 1e-7, 20: 5e-8}


def adjust_learning_rate(lradj: str, base_lr: float, epoch: int) -> float | None:
    """The rate that the epoch-wise modes set; None where they leave it as it is (type2 between its entries).

    `epoch` is 1-based: at the end of the loop's 0-based epoch e the trainer calls `adjust_learning_rate(e + 1)`, and
    the rate holds in the epoch after. `base_lr` is `args.learning_rate` at that moment.

    Source: `adjust_learning_rate` in `utils/tools.py` of Time-LLM.
    """
    if lradj == "type1":
        return base_lr * (0.5 ** (epoch - 1))
    if lradj == "type2":
        return TYPE2_RATES.get(epoch)
    if lradj == "type3":
        return base_lr if epoch < 3 else base_lr * (0.9 ** (epoch - 3))
    if lradj == "PEMS":
        return base_lr * (0.95**epoch)
    if lradj == "constant":
        return base_lr
    raise ValueError(f"{lradj!r} is not an epoch-wise mode; those are {', '.join(ADJUST_MODES)}")
