"""Which cases of a large space every run of the tests tries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[Any], *default: Any, ids: bool = False) -> list[Any]:
    """The cases for `parametrize`: all but those of `default` are long. With `ids` they are named by their text."""
    return [
        pytest.param(case, id=str(case) if ids else None, marks=[] if case in default else [pytest.mark.long])
        for case in cases
    ]
