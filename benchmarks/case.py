"""What a case of the benchmark is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .bench import Bench, Row


@dataclass(frozen=True)
class Case:
    """One table of the results."""

    name: str
    title: str
    text: str
    """What is compared; no figures."""
    rows: Callable[[Bench], Iterable[Row]]
    """Raises Skipped where it cannot run."""
    ratios: tuple[tuple[str, str], ...]
    """What is divided by what, by the contenders' names."""
    unit: str = ""
    """What the amounts of its rows count, where cost grows with them: `tensor`."""
