"""What passes between a report's runs and its document: how to render, where a run stands, its parts, the end."""

from __future__ import annotations

import marshal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ckpt_doctor.reports.manual import Rule
from ckpt_doctor.reports.tally import Tally
from ckpt_doctor.reports.text import Detail, plural
from ckpt_doctor.types import Curve, RunReport
from ckpt_doctor.types.record import record


@record(frozen=True)
class Style:
    """How to render a report. All functions are of modules, so that another process can be told."""

    form: str = "table"
    width: int = 80
    color: bool = False
    detail: Detail = "normal"
    plan: bool = False
    """Whether it is of a check: with what the trainer will do, where a format has a place for it."""
    rules: Callable[[], Sequence[Rule]] = tuple
    """Of those that found something, SARIF and HTML have the manual."""
    curve: Callable[[RunReport], Curve] | None = None
    """Finds what HTML draws."""
    paths: tuple[Path, ...] = ()
    """What was scanned."""


@record(frozen=True)
class Place:
    """Where a run stands in a report."""

    name: str
    number: int = 1
    of: int = 1
    """How many runs there are."""


@record(frozen=True)
class Told:
    """A run, rendered."""

    parts: tuple[Any, ...]
    """One for each part of the document that is made of runs: text, or lists and dicts of it."""
    tally: Tally


@record(frozen=True)
class Ending:
    """What a report says at its end."""

    tally: Tally
    seconds: float
    missed: int = 0
    """Runs that were not judged, because the scan was interrupted."""
    of: int = 1

    @property
    def interruption(self) -> str:
        """What to say of these; empty where there are none."""
        return f"Interrupted before {self.missed:,} of {plural(self.of, 'run')} were judged" if self.missed else ""


def packed(run: Told) -> bytes:
    """The same in bytes."""
    return marshal.dumps((run.parts, vars(run.tally)))


def unpacked(data: bytes) -> Told:
    """What this process has packed."""
    parts, counts = marshal.loads(data)  # noqa: S302
    return Told(parts, Tally(**counts))
