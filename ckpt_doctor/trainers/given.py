"""Facts of the training command that a person or a script gives: checked, and marked with where they come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ckpt_doctor.errors import UsageError
from ckpt_doctor.types import Evidence, Facts

LRADJ = ("TST", "COS", "type1", "type2", "type3", "PEMS", "constant")
"""What the trainer's `--lradj` may be."""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


Check = tuple[Callable[[Any], bool], str]
"""What a value must be, as a test and in words."""
_COUNT: Check = (_is_count, "a whole number above 0")

CHECKS: Mapping[str, Check] = {
    "steps_per_epoch": _COUNT,
    "train_epochs": _COUNT,
    "lradj": (lambda value: value in LRADJ, f"one of {', '.join(LRADJ)}"),
    "learning_rate": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "pct_start": (lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    "patience": _COUNT,
    "shuffle": (lambda value: isinstance(value, bool), "true or false"),
    "world_size": _COUNT,
}
"""Every fact that can be given, in the order in which they are told."""


def facts(*, source: str = "given", **values: object) -> Facts:
    """Facts for `scan`, `migrate`, `latest` and `prune`: `facts(lradj="TST", steps_per_epoch=45)`.

    A value of None counts as not given. `source` is what a report names as the origin. Raises UsageError for a name or
    a value that no training command has.
    """
    unknown = sorted(set(values) - set(CHECKS))
    if unknown:
        raise UsageError(f"unknown fact {unknown[0]!r}; there are {', '.join(CHECKS)}")
    known: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        fits, what = CHECKS[name]
        if not fits(value):
            raise UsageError(f"{name} must be {what}, not {value!r}")
        known[name] = Evidence(value, source, given=True)
    return Facts(**known)
