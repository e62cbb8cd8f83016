"""HTML: one self-contained page, and fragments for a notebook. No network, readable in light and in dark.

The templates are beside this module. Every value that they show is escaped: control characters as everywhere in the
reports, then by Jinja. The page's one script gives commands a button to copy them, and nothing depends on it.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from ckpt_doctor.inert.units import tensors_of
from ckpt_doctor.reports import inspect, text
from ckpt_doctor.reports.check import flags, resume_words, verdict_words
from ckpt_doctor.reports.columns import label
from ckpt_doctor.reports.cures import is_command
from ckpt_doctor.reports.groups import grouped
from ckpt_doctor.reports.html.charts import loss_chart, marks, rate_chart
from ckpt_doctor.reports.html.lenses import lenses
from ckpt_doctor.reports.manual import whole
from ckpt_doctor.reports.rendered import Ending, Place, Style, Told
from ckpt_doctor.reports.repairs import change, counted
from ckpt_doctor.reports.resuming import clauses, landing
from ckpt_doctor.reports.tally import OUTLOOKS, summary, tally, total
from ckpt_doctor.reports.view import colour_of, nothing_found, open_point, view, without_copies
from ckpt_doctor.types import Advice, AdviceKind, Checkpoint, Curve, Linted, MigrationResult, Report, RunReport
from ckpt_doctor.version import __version__

MOST_ROWS = 12
"""Checkpoints of a run up to which those that call for nothing are in the table, too."""
MOST_TENSORS = 200
"""Tensors of a checkpoint that a notebook lists."""


def parts(run: RunReport, place: Place, style: Style) -> tuple[str, ...]:
    """Of a run its row in the list of all, and its section."""
    known = [rule.code for rule in style.rules()]
    told = _run(run, style.paths, style.curve(run) if style.curve is not None else None)
    plan = _plan(run) if style.plan and run.files else None
    return (
        _template("row.html.j2").render(run=told, name=place.name, number=place.number),
        _template("section.html.j2").render(run=told, number=place.number, plan=plan, explained=known),
    )


def document(runs: Iterable[Told], ending: Ending, style: Style) -> Iterator[str]:
    """A report as a page: of each run the answer, the pictures, the table, the findings; of a check also the plan."""
    manuals = [
        {"code": rule.code, "name": rule.name, "paragraphs": whole(rule).split("\n\n")}
        for rule in style.rules()
        if rule.code in ending.tally.codes
    ]
    return _template("page.html.j2").generate(
        **_page("Checkpoint check" if style.plan else "Checkpoint report"),
        nothing=nothing_found(style.paths) if ending.tally.is_empty else "",
        summary=summary(ending.tally, ending.seconds, ending.interruption),
        rows=(Markup(run.parts[0]) for run in runs),  # noqa: S704  # our own, escaped when they were made
        sections=(Markup(run.parts[1]) for run in runs),  # noqa: S704
        is_list=ending.of > 1,
        manuals=manuals,
    )


def scripts_page(linted: Linted) -> str:
    """What linting found, as a page."""
    points = map(open_point, linted.not_checked)
    read = f"{text.plural(len(linted.scripts), 'script')} read."
    return _template("scripts.html.j2").render(
        **_page("Script report"), findings=linted.findings, open_points=[*points], summary=read
    )


def fragment(report: Report, curves: Sequence[Curve] = (), *, plan: bool = False) -> str:
    """A report for a notebook; of a check with what the trainer will do."""
    is_check = plan and bool(report.files)
    by_run = {curve.run: curve for curve in curves}
    counts = total(map(tally, report.runs))
    return _template("fragment.html.j2").render(
        path=report.files[0].checkpoint.path if is_check else None,
        nothing=nothing_found(report.paths) if counts.is_empty else "",
        summary=summary(counts, report.seconds),
        runs=[_run(run, report.paths, by_run.get(run.run.path)) for run in report.runs],
        plan=_plan(report.runs[0]) if is_check else None,
    )


def checkpoint_fragment(checkpoint: Checkpoint) -> str:
    """What one file holds, for a notebook."""
    tensors = [tensor for tensor, _ in tensors_of(checkpoint)]
    return _template("checkpoint.html.j2").render(
        path=checkpoint.path,
        head=inspect.head(checkpoint),
        damages=checkpoint.damage,
        keys=inspect.top_level(checkpoint),
        columns=inspect.TENSOR_COLUMNS,
        tensors=[inspect.tensor_row(tensor) for tensor in tensors[:MOST_TENSORS]],
        count=len(tensors),
    )


def migrations_fragment(results: Sequence[MigrationResult]) -> str:
    """What a migration or an undo did to each file, for a notebook."""
    told = [
        {
            "path": result.path,
            "status": result.status,
            "message": result.message,
            "edits": [(*change(edit), edit.evidence) for edit in result.edits],
            "refusals": result.refusals,
            "notes": result.notes,
        }
        for result in results
    ]
    return _template("migrations.html.j2").render(results=told, counted=counted(results))


def _page(title: str) -> dict[str, object]:
    """What every page has."""
    script = _script()
    made = time.strftime("%d %B %Y, %H:%M %Z")
    return {
        "title": title,
        "made_by": f"ckpt-doctor {__version__}, {made}",
        "script": Markup(script),  # noqa: S704  # the package's own file
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }


COLOURS: Mapping[AdviceKind, str] = {"resume": "ok", "complete": "ok", "repair": "repairable", "facts": "repairable"}
"""Kind of an advice -> the class of its colour; where it is to do nothing, `broken` and `open`."""


def _colour(advice: Advice) -> str:
    """The class of an answer's colour: green only where nothing is left to say against the resume."""
    if advice.kind == "resume" and (advice.stays or advice.reason):
        return "repairable"
    return COLOURS.get(advice.kind, "broken" if advice.kind == "none" else "open")


def _run(run: RunReport, paths: Sequence[Path], curve: Curve | None) -> dict[str, Any]:
    """One run, ready to be laid out."""
    outlooks, shown = Counter((file.outlook, colour_of(file)) for file in run.files), view(run, paths)
    run = without_copies(run)
    names = [label(file, run.run.path) for file in run.files]
    advice = run.advice
    name = text.clean(advice.label) if advice is not None else ""
    numbered = list(enumerate(shown.rows, 1))
    is_long = len(numbered) > MOST_ROWS
    is_folded = [is_long and not row.is_troubled and row.name != name for _, row in numbered]
    return {
        "view": shown,
        "rows": [row for row, folds in zip(numbered, is_folded, strict=True) if not folds],
        "folded": [row for row, folds in zip(numbered, is_folded, strict=True) if folds],
        "name": name,
        "colour": _colour(advice) if advice is not None else "",
        "codes": dict.fromkeys(g.first.code for g in grouped(run) if g.first.severity != "info"),
        "outlooks": [
            (*told, count) for told, count in sorted(outlooks.items(), key=lambda item: OUTLOOKS.index(item[0][0]))
        ],
        "pictures": pictures(run, names, curve) if curve is not None else None,
        "landings": [
            (number, name, landing(file, file.plan, run))
            for number, (file, name) in enumerate(zip(run.files, names, strict=True), 1)
            if file.plan is not None
        ],
    }


def _plan(run: RunReport) -> dict[str, object]:
    """What the trainer will do with the one file of a check."""
    file = run.files[0]
    return {
        "resume": resume_words(file),
        "clauses": clauses(file, run),
        "flags": flags(file) if run.advice is None else "",
        "colour": colour_of(file),
        "outlook": file.outlook,
        "words": verdict_words(file),
    }


def pictures(run: RunReport, names: Sequence[str], curve: Curve) -> dict[str, object] | None:
    """What is drawn of a run; None where there is nothing to draw."""
    places = marks(run, names, curve)
    found = {
        "rates": rate_chart(curve, places),
        "losses": loss_chart(curve),
        "is_whole": bool(curve.rates),
        "lenses": lenses(
            curve,
            [(n, name, file.checkpoint.path) for n, (file, name) in enumerate(zip(run.files, names, strict=True), 1)],
        ),
        "places": places,
        "is_advised": any(place.is_advised for place in places),
    }
    return found if found["rates"] or found["losses"] else None


@cache
def _script() -> str:
    return (resources.files(__name__) / "copy.js").read_text("utf-8")


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader(__name__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else text.clean(value),
    )
    environment.tests["command"] = is_command
    return environment.get_template(name)
