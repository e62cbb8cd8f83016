"""HTML: one self-contained page, and fragments for a notebook. No network, readable in light and in dark.

The templates are beside this module. Every value that they show is escaped: control characters as everywhere in the
reports, then by Jinja. The page's one script gives commands a button to copy them, and nothing depends on it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from inspect import cleandoc
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
from ckpt_doctor.reports.manual import Rule
from ckpt_doctor.reports.repairs import change, counted
from ckpt_doctor.reports.resuming import clauses, landing
from ckpt_doctor.reports.view import (
    OUTLOOKS,
    colour_of,
    is_empty,
    nothing_found,
    open_point,
    summary,
    view,
    without_copies,
)
from ckpt_doctor.types import Advice, AdviceKind, Checkpoint, Curve, Linted, MigrationResult, Report, RunReport
from ckpt_doctor.version import __version__

MOST_ROWS = 12
"""Checkpoints of a run up to which those that call for nothing are in the table, too."""
MOST_TENSORS = 200
"""Tensors of a checkpoint that a notebook lists."""


def page(
    report: Report,
    curves: Sequence[Curve] = (),
    *,
    rules: Callable[[], Sequence[Rule]] = tuple,
    plan: bool = False,
) -> str:
    """A report as a page: of each run the answer, the pictures, the table, the findings; of a check also the plan."""
    codes = {finding.code for finding in report.findings}
    manuals = [
        {"code": rule.code, "name": rule.name, "paragraphs": cleandoc(rule.manual).split("\n\n")}
        for rule in rules()
        if rule.code in codes
    ]
    return _template("page.html.j2").render(
        **_page("Checkpoint check" if plan else "Checkpoint report"),
        **_frame(report, curves, plan=plan),
        manuals=manuals,
        explained={rule["code"] for rule in manuals},
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
    path = report.files[0].checkpoint.path if is_check else None
    return _template("fragment.html.j2").render(path=path, **_frame(report, curves, plan=is_check))


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


def _frame(report: Report, curves: Sequence[Curve], *, plan: bool) -> dict[str, object]:
    """What a report says."""
    by_run = {curve.run: curve for curve in curves}
    nothing = nothing_found(report) if is_empty(report) else ""
    runs = [_run(run, report, by_run.get(run.run.path)) for run in report.runs]
    for told, short in zip(runs, _below_all([run.run.path for run in report.runs]), strict=True):
        told["short"] = short
    return {
        "nothing": nothing,
        "summary": summary(report),
        "runs": runs,
        "plan": _plan(report.runs[0]) if plan and report.files else None,
    }


def _below_all(paths: Sequence[Path]) -> list[Path]:
    """Paths as seen from the folder that holds them all."""
    try:
        top = type(paths[0])(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    except ValueError:  # none, or absolute and relative ones
        return [*paths]
    return [path.relative_to(top) for path in paths]


COLOURS: Mapping[AdviceKind, str] = {"resume": "ok", "complete": "ok", "repair": "repairable", "facts": "repairable"}
"""Kind of an advice -> the class of its colour; where it is to do nothing, `broken` and `open`."""


def _colour(advice: Advice) -> str:
    """The class of an answer's colour: green only where nothing is left to say against the resume."""
    if advice.kind == "resume" and (advice.stays or advice.reason):
        return "repairable"
    return COLOURS.get(advice.kind, "broken" if advice.kind == "none" else "open")


def _run(run: RunReport, report: Report, curve: Curve | None) -> dict[str, Any]:
    """One run, ready to be laid out."""
    outlooks, shown = Counter((file.outlook, colour_of(file)) for file in run.files), view(run, report.paths)
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
