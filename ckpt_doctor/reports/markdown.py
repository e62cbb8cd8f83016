"""Markdown (GitHub's), for a pull request comment, a job summary or an issue."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ckpt_doctor.reports import text
from ckpt_doctor.reports.cures import cures, is_command
from ckpt_doctor.reports.groups import Group, concerned, grouped, label, likewise, unchecked
from ckpt_doctor.reports.table import (
    contents,
    known_facts,
    nothing_found,
    schedule,
    shown_score,
    summary,
)
from ckpt_doctor.types import Located, Report, RunReport

ACTIVE = re.compile(r"[\\`*\[\]<>&|~$]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown would read as markup inside a sentence; underscores only at the edge of a word."""
MARK = {"error": "❌", "warning": "⚠️", "info": "ℹ️"}


def markdown(report: Report) -> str:
    """A scan's report."""
    if not report.files and not report.findings:
        return prose(nothing_found(report)) + "\n"
    parts = [part for run in report.runs for part in run_parts(run, report)]
    return "\n\n".join([*parts, prose(summary(report))]) + "\n"


def run_parts(run: RunReport, report: Report) -> list[str]:
    """One run: heading, facts, table, findings, what was not checked."""
    parts = [f"### {code(run.run.path)}", f"{contents(run)}."]
    if facts := known_facts(run.run.facts):
        parts.append("\n".join(f"- {prose(name)}: {prose(source)}" for name, source in facts))
    if run.files:
        rows = [["file", "role", "size", "epoch", "step", "schedule", "best score", "verdict"]]
        rows += [["---", "---", "---:", "---:", "---:", "---:", "---:", "---"]]
        for file in run.files:
            state = file.member.state
            rows.append(
                [
                    code(label(file, run.run.path)).replace("|", "\\|"),
                    file.member.role or "-",
                    text.size(file.checkpoint.size),
                    text.integer(state.epoch),
                    text.integer(state.global_step),
                    schedule(file),
                    shown_score(file),
                    file.verdict,
                ]
            )
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    groups = grouped(run)
    if groups:
        parts.append("\n".join(item(group, run, report) for group in groups))
    open_points = [
        f"- not checked: {prose(point.what)}: {prose(point.why)}."
        + (f" To settle it: {code(point.settle)}" if point.settle else "")
        for point, _ in unchecked(run.files)
        if point.settle != "--deep"
    ]
    return [*parts, "\n".join(open_points)] if open_points else parts


def item(group: Group, run: RunReport, report: Report) -> str:
    """A group of findings as a list item."""
    finding = group.first
    files = concerned(group, run)
    head = f"- {MARK[finding.severity]} **{prose(finding.code)}** {prose(finding.name)}"
    lines = [f"{head} ({prose(files)}): {prose(finding.message)}" if files else f"{head}: {prose(finding.message)}"]
    if others := likewise(group, run):
        lines.append(f"  - also {prose(others)}")
    lines += [
        f"  - cure: {code(cure) if is_command(cure) else prose(cure)}" for cure in cures(group, run, report.paths)
    ]
    return "\n".join(lines)


def markdown_list(items: Sequence[Located]) -> str:
    """Findings in scripts as a list."""
    lines = []
    for found in items:
        finding = found.finding
        place = (
            f"{found.path}:{found.line}"
            if found.cell is None
            else f"{found.path}, cell {found.cell}, line {found.line}"
        )
        lines.append(
            f"- {MARK[finding.severity]} **{finding.code}** {finding.name} in {code(place)}: {prose(finding.message)}"
        )
        if found.suggestion:
            lines.append(f"  - instead: {code(found.suggestion)}")
    return "\n".join(lines or ["No findings."]) + "\n"


def prose(value: object) -> str:
    """A sentence whose characters stand for themselves."""
    return ACTIVE.sub(lambda match: f"\\{match[0]}", text.clean(value))


def code(value: object) -> str:
    """A code span, whatever backticks stand in it (CommonMark 6.1: the fence is longer than any run inside)."""
    inside = text.clean(value)
    fence = "`" * (max(map(len, re.findall("`+", inside)), default=0) + 1)
    space = " " if "`" in inside else ""
    return f"{fence}{space}{inside}{space}{fence}"
