"""What all schedules share: numbers out of a file, and the keys of every scheduler's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_doctor.types import NumpyScalar, real


def number(mapping: Mapping[Any, Any], key: object) -> float:
    """`mapping[key]` as a Python number of its own type (ints stay ints: the arithmetic depends on it)."""
    value = mapping.get(key) if isinstance(key, str) else None
    if isinstance(value, NumpyScalar):
        value = value.value
    if not isinstance(value, (int, float)) or real(value) is None:
        raise ValueError(f"{str(key)[:40]} is {'absent' if value is None else 'not a number'}")
    return value


def progress(step: int, last_lr: list[float]) -> dict[str, Any]:
    """The keys that every scheduler has, in torch's order. Source: `LRScheduler.__init__`, `_initial_step`, `step`."""
    return {
        "last_epoch": step,
        "_step_count": step + 1,
        "_is_initial": False,
        "_get_lr_called_within_step": False,
        "_last_lr": last_lr,
    }
