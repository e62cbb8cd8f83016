"""A report in some format, run by run: each run is rendered by itself, and a document is put together of them.

So a scan of any number of files need not hold more than one run, and other processes can render runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ckpt_doctor.reports.rendered import Ending, Place, Style, Told, packed, unpacked
from ckpt_doctor.reports.tally import tally, total
from ckpt_doctor.reports.text import clean, shorten_all
from ckpt_doctor.types import RunReport
from ckpt_doctor.types.record import record

__all__ = ["Ending", "Place", "Style", "Told", "document", "ending", "names_of", "packed", "told", "unpacked", "whole"]


def ending(runs: Iterable[Told], seconds: float, of: int, missed: int = 0) -> Ending:
    """The end of a report on these runs."""
    return Ending(total(run.tally for run in runs), seconds, missed, of)


@record(frozen=True)
class Form:
    """A format."""

    parts: Callable[[RunReport, Place, Style], tuple[Any, ...]]
    document: Callable[[Iterable[Told], Ending, Style], Iterator[str]]
    """Goes through the runs more than once."""


def form_of(style: Style) -> Form:
    """The format of a style, loaded when it is asked for."""
    if style.form == "table":
        from ckpt_doctor.reports import table

        return Form(table.parts, table.document)
    if style.form == "json":
        from ckpt_doctor.reports import json_v1

        return Form(json_v1.parts, json_v1.document)
    if style.form == "markdown":
        from ckpt_doctor.reports import markdown

        return Form(markdown.parts, markdown.document)
    if style.form == "html":
        from ckpt_doctor.reports import html

        return Form(html.parts, html.document)
    if style.form == "github":
        from ckpt_doctor.reports import github

        return Form(github.parts, github.document)
    from ckpt_doctor.reports import sarif

    return Form(sarif.parts, sarif.document)


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
    return form_of(style).document(runs, end, style)


def whole(runs: Sequence[RunReport], seconds: float, style: Style) -> str:
    """The document of runs that are all at hand."""
    names = names_of([run.run.path for run in runs], style)
    places = (Place(name, number, len(runs)) for number, name in enumerate(names, 1))
    rendered = [told(run, place, style) for run, place in zip(runs, places, strict=True)]
    return "".join(document(rendered, ending(rendered, seconds, len(runs)), style))
