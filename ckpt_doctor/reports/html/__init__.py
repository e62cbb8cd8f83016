"""HTML: one self-contained page, and fragments for a notebook. No script, no network, readable in light and in dark.

The templates are beside this module. Every value that they show is escaped: control characters as everywhere in the
reports, then by Jinja.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from ckpt_doctor.reports import text
from ckpt_doctor.reports.check import flags, resume_words, verdict_words
from ckpt_doctor.reports.columns import label
from ckpt_doctor.reports.cures import is_command
from ckpt_doctor.reports.groups import grouped
from ckpt_doctor.reports.html.charts import loss_chart, marks, rate_chart
from ckpt_doctor.reports.resuming import clauses, landing
from ckpt_doctor.reports.view import OUTLOOKS, is_empty, nothing_found, open_point, summary, view
from ckpt_doctor.types import Curve, Linted, Report, RunReport


def page(report: Report, curves: Sequence[Curve] = ()) -> str:
    """A scan's report as a page; a run with a curve gets its charts."""
    by_run = {curve.run: curve for curve in curves}
    runs = [
        {
            "view": view(run, report.paths),
            "codes": dict.fromkeys(g.first.code for g in grouped(run) if g.first.severity != "info"),
            "outlooks": [file.outlook for file in run.files],
            "charts": charts(run, by_run[run.run.path]) if run.run.path in by_run else None,
        }
        for run in report.runs
    ]
    return _template("page.html.j2").render(title="Checkpoint report", runs=runs, outlooks=OUTLOOKS, **_frame(report))


def scripts_page(linted: Linted) -> str:
    """What linting found, as a page."""
    points = map(open_point, linted.not_checked)
    read = f"{text.plural(len(linted.scripts), 'script')} read."
    return _template("scripts.html.j2").render(
        title="Script report", findings=linted.findings, open_points=[*points], summary=read
    )


def scan_fragment(report: Report) -> str:
    """A scan's report for a notebook."""
    runs = [view(run, report.paths) for run in report.runs]
    return _template("fragment.html.j2").render(runs=runs, file=None, **_frame(report))


def check_fragment(report: Report) -> str:
    """The report of a check for a notebook: what the trainer will do, the findings, the verdict."""
    if not report.files:
        return scan_fragment(report)
    run, file = report.runs[0], report.files[0]
    told = {
        "resume": resume_words(file),
        "clauses": clauses(file, run),
        "flags": flags(file),
        "words": verdict_words(file),
    }
    return _template("fragment.html.j2").render(runs=[view(run, report.paths)], file=file, **told, **_frame(report))


def charts(run: RunReport, curve: Curve) -> dict[str, object]:
    """The learning rate with the checkpoints on it, where each resume lands, and the validation loss."""
    names = [label(file, run.run.path) for file in run.files]
    places = marks(run, names, curve.steps_per_epoch)
    landings = [
        (number, name, landing(file, file.plan, run))
        for number, (file, name) in enumerate(zip(run.files, names, strict=True), 1)
        if file.plan is not None
    ]
    return {
        "rates": rate_chart(curve, places),
        "losses": loss_chart(curve),
        "landings": landings,
        "places": places,
        "resumed": [name for name, _ in curve.resumed],
    }


def _frame(report: Report) -> dict[str, object]:
    """What a report says as a whole."""
    nothing = nothing_found(report) if is_empty(report) else ""
    return {"nothing": nothing, "summary": summary(report)}


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
