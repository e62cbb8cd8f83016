"""`--format` to formatter. Each is imported when it is asked for."""

from __future__ import annotations

from pathlib import Path

from ckpt_doctor.cli import output as out
from ckpt_doctor.types import Report
from ckpt_doctor.version import __version__

FORMATS = ("table", "json", "sarif", "github", "markdown", "html")


def render(report: Report, form: str, output: Path | None = None) -> str:
    """A scan's report in one of `FORMATS`; `output` is where it will go."""
    if form == "table":
        from ckpt_doctor.reports.table import table

        return table(report, width=out.width(), color=out.color(output))
    if form == "json":
        from ckpt_doctor.reports.json_v1 import json_v1

        return json_v1(report, version=__version__)
    return _common(report, form)


def render_check(report: Report, form: str, output: Path | None = None) -> str:
    """The report of a check: the plan where a format has a place for it."""
    if form == "table":
        from ckpt_doctor.reports.plan import plan

        return plan(report, width=out.width(), color=out.color(output))
    if form == "json":
        from ckpt_doctor.reports.json_v1 import json_v1

        return json_v1(report, version=__version__, plan=report.files[0].plan)
    return _common(report, form)


def _common(report: Report, form: str) -> str:
    if form == "sarif":
        from ckpt_doctor.cli.rules import all_rules
        from ckpt_doctor.reports.located import located
        from ckpt_doctor.reports.sarif import sarif

        return sarif(located(report), version=__version__, rules=all_rules())
    if form == "github":
        from ckpt_doctor.reports.github import github
        from ckpt_doctor.reports.located import located

        return github(located(report))
    if form == "markdown":
        from ckpt_doctor.reports.markdown import markdown

        return markdown(report)
    from ckpt_doctor.audit.auditing import curves
    from ckpt_doctor.reports.html import html

    return html(report, curves(report))
