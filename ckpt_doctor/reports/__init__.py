"""Results -> text, JSON, HTML and the forms of other tools. Nothing here prints.

Here is what several commands and the results themselves show; what one command alone shows is in a module of its own.
`form` is a format (`--format`), each loaded when it is asked for; `width` is in columns of a terminal, `color` adds its
styles. Colour, width and everything else that a format has no use for is left aside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor.reports.facts import given_words, nearest
from ckpt_doctor.reports.manual import Rule
from ckpt_doctor.reports.text import Detail, argument, clean, plural, quoted, shorten, size

if TYPE_CHECKING:
    from ckpt_doctor.types import Checkpoint, Curve, MigrationResult, Report, RunReport


FORMATS = ("table", "json", "sarif", "github", "markdown", "html")
"""Of scan, check and lint; the other commands have `table` and `json`."""


def judged(
    report: Report,
    form: str = "table",
    *,
    plan: bool = False,
    rules: Callable[[], Sequence[Rule]] = tuple,
    curve: Callable[[RunReport], Curve] | None = None,
    width: int = 80,
    color: bool = False,
    detail: Detail = "normal",
) -> str:
    """A scan; of a check, with `plan`, what the trainer will do as well, where a format has a place for it.

    SARIF and HTML describe those of `rules()` that found something; `curve` finds what HTML draws of a run.
    """
    if form == "table" and plan:
        from ckpt_doctor.reports.check import check

        return check(report, width=width, color=color, detail=detail)
    from ckpt_doctor.reports.documents import Style, whole

    return whole(report.runs, report.seconds, Style(form, width, color, detail, plan, rules, curve, report.paths))


def opened(checkpoint: Checkpoint, form: str) -> str:
    """What one file holds, not judged: `table` or `html`."""
    if form == "html":
        from ckpt_doctor.reports.html import checkpoint_fragment

        return checkpoint_fragment(checkpoint)
    from ckpt_doctor.reports.inspect import contents

    return contents(checkpoint)


def migrated(
    results: Sequence[MigrationResult],
    form: str = "table",
    *,
    paths: Sequence[Path] = (),
    after: Report | None = None,
    width: int = 80,
    color: bool = False,
    detail: Detail = "normal",
) -> str:
    """The plan or the outcome of a migration; how to undo it, where `paths`, those that it was given, say so.

    What to do now comes first, by the report on the files as they are `after` it."""
    if form == "json":
        from ckpt_doctor.reports import json_v1

        return json_v1.migrated(results, after.runs if after else ())
    if form == "html":
        from ckpt_doctor.reports.html import migrations_fragment

        return migrations_fragment(results)
    from ckpt_doctor.reports.repairs import migrations

    return migrations(results, paths=paths, after=after, width=width, color=color, detail=detail)


def undone(results: Sequence[MigrationResult], form: str = "table", *, width: int = 80) -> str:
    """What an undo took back."""
    if form in ("json", "html"):
        return migrated(results, form)
    from ckpt_doctor.reports import repairs

    return repairs.undone(results, width=width)


def nothing_found(paths: Sequence[Path]) -> str:
    """What a report without a checkpoint says: where a scan looked, and for what."""
    from ckpt_doctor.reports import view

    return view.nothing_found(paths)


def fragment(report: Report, curves: Sequence[Curve] = (), *, plan: bool = False) -> str:
    """HTML of a report for a notebook; of a check with the plan."""
    from ckpt_doctor.reports import html

    return html.fragment(report, curves, plan=plan)
