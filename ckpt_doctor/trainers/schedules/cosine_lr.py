"""CosineAnnealingLR by recursion, as torch steps it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ckpt_doctor.trainers.schedules.values import progress

LONGEST_RECURSION = 20_000
"""Steps that `cosine_annealing` is willing to walk (10 ms): a number in a file must not buy more time. Trainers of this
kind take one per epoch."""


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


@lru_cache(maxsize=256)
def cosine_annealing(base_lr: float, T_max: float, eta_min: float, epoch: int) -> float:
    """Rate after `epoch` steps of a CosineAnnealingLR, by torch's recursion.

    The closed form (`_get_closed_form_lr`) differs from it in the last digits from a few steps on: a file written by a
    trainer holds this one.
    """
    if epoch > LONGEST_RECURSION:
        raise ValueError(f"{epoch} steps of CosineAnnealingLR are more than are walked one by one")
    lr = base_lr
    for last_epoch in range(1, epoch + 1):
        lr = next_cosine(lr, base_lr, T_max, eta_min, last_epoch)
    return lr


def cosine_annealing_state(base_lrs: Sequence[float], T_max: int, eta_min: float, step: int) -> dict[str, Any]:
    """`state_dict()` of torch 2.13's CosineAnnealingLR after `step` steps."""
    state: dict[str, Any] = {"T_max": T_max, "eta_min": eta_min, "base_lrs": list(base_lrs)}
    return state | progress(step, [cosine_annealing(base, T_max, eta_min, step) for base in base_lrs])
