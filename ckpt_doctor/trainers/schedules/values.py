"""What all schedules share: numbers out of a file, and the keys of every scheduler's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_doctor.types import NumpyScalar, TensorRef, real


class Absent(ValueError):
    """There is no such key, or None under it."""


def number(mapping: Mapping[Any, Any], key: object) -> float:
    """`mapping[key]` as a Python number of its own type (ints stay ints: the arithmetic depends on it)."""
    value = mapping.get(key) if isinstance(key, (str, int, float)) else None
    if value is None:
        raise Absent(f"{str(key)[:40]} is absent")
    return as_number(value, key)


def as_number(value: object, name: object) -> float:
    """The number that a value of a file holds; `name` is what the error calls it."""
    if type(value) is float:
        return value
    if isinstance(value, (NumpyScalar, TensorRef)):
        value = value.value
    if not isinstance(value, (int, float)) or real(value) is None:
        raise ValueError(f"{str(name)[:40]} is not a number")
    return value


def whole(mapping: Mapping[Any, Any], key: str | int) -> int:
    """`mapping[key]` as an int."""
    value = number(mapping, key)
    if not isinstance(value, int):
        raise ValueError(f"{key} is not a whole number")
    return value


def numbers(mapping: Mapping[Any, Any], key: str, count: int) -> list[float]:
    """`mapping[key]` as a list of `count` numbers: one for each param group."""
    values = mapping.get(key)
    if values is None:
        raise Absent(f"{key} is absent")
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise ValueError(f"{key} is not a list of {count} numbers, one for each param group")
    return [as_number(value, key) for value in values]


def power(base: float, exponent: float) -> Any:
    """`base ** exponent` in Python's own types, as torch has it: complex for the root of a negative number.

    Never an integer of unbounded length.
    """
    if isinstance(base, int) and abs(base) > 1 and isinstance(exponent, int) and exponent > LARGEST_EXPONENT:
        raise OverflowError("a power that no float holds")
    return base**exponent


LARGEST_EXPONENT = 1_100
"""2 to this power is more than any float."""


def progress(step: int, last_lr: list[float]) -> dict[str, Any]:
    """The keys that every scheduler has, in torch's order. Source: `LRScheduler.__init__`, `_initial_step`, `step`."""
    return {
        "last_epoch": step,
        "_step_count": step + 1,
        "_is_initial": False,
        "_get_lr_called_within_step": False,
        "_last_lr": last_lr,
    }
