"""Numbers out of files, and when two of them are one."""

from __future__ import annotations

import math

from ckpt_doctor.types.values import NumpyScalar, TensorRef


def real(value: object) -> float | None:
    """A Python or numpy number, or that of a tensor of one element that was read, as float.

    None for anything else, and for an integer that no float holds.
    """
    if type(value) is float:
        return value
    if isinstance(value, (NumpyScalar, TensorRef)):
        value = value.value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def equal(a: object, b: object) -> bool:
    """Whether two values are equal; NaN equals itself."""
    return bool(a == b or (a != a and b != b))


LOG_PRECISION = 6e-8
"""How far two scores may lie apart and be one: the log prints a validation loss with seven decimals."""


def same_score(a: float | None, b: float | None) -> bool:
    """Whether two scores are one, up to what the log leaves off; NaN is NaN, and None only None."""
    if a is None or b is None:
        return a is b
    return equal(a, b) or abs(a - b) <= LOG_PRECISION


def same_rate(a: float | None, b: float | None) -> bool:
    """Whether two rates are one but for rounding."""
    return a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-300)


_DIGITS = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 2e-2}


def holds_rate(value: object, rate: float) -> bool:
    """Whether a value of a file is this rate, to the digits of its type (torch computes in a tensor's own)."""
    found = real(value)
    if isinstance(value, TensorRef) and value.dtype in _DIGITS and found is not None:
        return math.isclose(found, rate, rel_tol=_DIGITS[value.dtype], abs_tol=1e-12)
    return same_rate(found, rate)
