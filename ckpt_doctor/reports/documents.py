"""A report in some format, run by run: each run is rendered by itself, and a document is put together of them.

So a scan of any number of files need not hold more than one run, and other processes can render runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ckpt_doctor.reports.rendered import Ending, Place, Style, Told, packed, unpacked
from ckpt_doctor.reports.tally import tally, total
from ckpt_doctor.reports.text import clean, shorten_all
from ckpt_doctor.types import RunReport

__all__ = ["Ending", "Place", "Style", "Told", "document", "ending", "names_of", "packed", "told", "unpacked", "whole"]


def ending(runs: Iterable[Told], seconds: float, of: int, missed: int = 0) -> Ending:
    """The end of a report on these runs."""
    return Ending(total(run.tally for run in runs), seconds, missed, of)


FORMS = {
    "table": "table",
    "json": "json_v1",
    "markdown": "markdown",
    "html": "html",
    "github": "github",
    "sarif": "sarif",
}
"""Format -> its module in this folder, loaded when it is asked for. Each has `parts`, what a run is made into, and
`document`, the pieces of the whole, which goes through the runs more than once."""


def form_of(style: Style) -> ModuleType:
    """The module of a style's format."""
    return import_module(f"ckpt_doctor.reports.{FORMS[style.form]}")


def names_of(runs: Sequence[Path], style: Style) -> list[str]:
    """What a report calls the runs: as short as the table's width wants it, and different; below one folder in HTML."""
    if style.form == "table":
        return shorten_all(list(map(clean, runs)), style.width)
    try:
        top = os.path.commonpath([run.parent for run in runs])
    except ValueError:  # none, or absolute and relative ones
        return list(map(str, runs))
    return [str(run.relative_to(top)) for run in runs]


def told(run: RunReport, place: Place, style: Style) -> Told:
    """A run, rendered."""
    return Told(form_of(style).parts(run, place, style), tally(run))


def document(runs: Iterable[Told], end: Ending, style: Style) -> Iterator[str]:
    """The document that rendered runs make, in pieces."""
    pieces: Iterator[str] = form_of(style).document(runs, end, style)
    return pieces


def whole(runs: Sequence[RunReport], seconds: float, style: Style) -> str:
    """The document of runs that are all at hand."""
    names = names_of([run.run.path for run in runs], style)
    places = (Place(name, number, len(runs)) for number, name in enumerate(names, 1))
    rendered = [told(run, place, style) for run, place in zip(runs, places, strict=True)]
    return "".join(document(rendered, ending(rendered, seconds, len(runs)), style))
