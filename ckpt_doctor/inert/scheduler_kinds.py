"""Which of torch's schedulers a state_dict is of, by its keys.

`kind_of` wants a class's exact keys: whoever computes with the state must know all of it. `scheduler_kind` wants those
that only one class has, so that a state with a key missing, or one of a script's own, is still judged as what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ckpt_doctor.types import mapping_of

Kind = Literal["OneCycleLR", "CosineAnnealingLR", "other"]

COMMON = frozenset(
    {"base_lrs", "last_epoch", "verbose", "_step_count", "_is_initial", "_get_lr_called_within_step", "_last_lr"}
)
"""Keys of `LRScheduler` itself. Older torch has `verbose`, the oldest neither `_last_lr` nor `_is_initial`."""

_KEYS = {
    "StepLR": ("step_size gamma", ""),
    "MultiStepLR": ("milestones gamma", ""),
    "ConstantLR": ("factor total_iters", ""),
    "LinearLR": ("start_factor end_factor total_iters", ""),
    "ExponentialLR": ("gamma", ""),
    "PolynomialLR": ("total_iters power", ""),
    "CosineAnnealingLR": ("T_max eta_min", ""),
    "CosineAnnealingWarmRestarts": ("T_0 T_i T_mult eta_min T_cur", ""),
    "OneCycleLR": (
        "total_steps cycle_momentum",
        "_schedule_phases step_size_up step_size_down anneal_func _anneal_func_type use_beta1",
    ),
    "CyclicLR": (
        "max_lrs total_size step_ratio mode gamma",
        "scale_mode scale_fn _scale_fn_ref _scale_fn_custom base_momentums max_momentums cycle_momentum use_beta1",
    ),
    "LambdaLR": ("lr_lambdas", ""),
    "SequentialLR": ("_schedulers _milestones", ""),
    "ChainedScheduler": ("_schedulers", ""),
    "ReduceLROnPlateau": (
        "factor patience cooldown cooldown_counter num_bad_epochs best mode threshold threshold_mode mode_worse eps",
        "min_lrs default_min_lr",
    ),
}
"""Class -> keys that its state must have, and keys that it may have, beside the common ones."""
SIGNATURES = {kind: (frozenset(must.split()), frozenset(may.split())) for kind, (must, may) in _KEYS.items()}

MOST_KEYS = 40

PLATEAU = "ReduceLROnPlateau"
UNCOUNTED = frozenset({"CosineAnnealingWarmRestarts", "SequentialLR", "ChainedScheduler", PLATEAU})


def kind_of(state: object) -> str | None:
    """Name the torch class whose `state_dict()` has these keys, torch 1.4 to 2.13.

    A key more or less is another class: one of the script's own, whose arithmetic is not known. A MultiplicativeLR has
    the keys of a LambdaLR and is named so; the formula is in neither.

    Returns:
        The class's name; None for keys of no such class, and for what is not a state at all.
    """
    mapping = mapping_of(state)
    if mapping is None or not {"last_epoch", "_schedulers"} & mapping.keys() or len(mapping) > MOST_KEYS:
        return None
    own = {key for key in mapping if key not in COMMON}
    return next((kind for kind, (must, may) in SIGNATURES.items() if must <= own <= must | may), None)


def counts(state: object) -> bool:
    """Whether `_step_count == last_epoch + 1` holds in every healthy state of this class.

    It does not for a scheduler inside another one, nor after `step(epoch)`, which no key shows.
    """
    kind = kind_of(state)
    return kind is not None and kind not in UNCOUNTED


def scheduler_kind(state: Mapping[Any, Any]) -> Kind:
    """Which scheduler a state is of, by the keys that only that class has; `other` for all but two."""
    if "T_max" in state and "eta_min" in state:
        return "CosineAnnealingLR"
    if "total_steps" in state and ("_schedule_phases" in state or "cycle_momentum" in state):
        return "OneCycleLR"
    return "other"
