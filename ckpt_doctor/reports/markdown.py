"""Markdown (GitHub's), for a pull request comment, a job summary or an issue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from ckpt_doctor.reports import text
from ckpt_doctor.reports.check import flags, resume_words, verdict_words
from ckpt_doctor.reports.cures import is_command
from ckpt_doctor.reports.rendered import Ending, Place, Style, Told
from ckpt_doctor.reports.resuming import clauses
from ckpt_doctor.reports.tally import summary
from ckpt_doctor.reports.view import Paragraph, RunView, nothing_found, view
from ckpt_doctor.types import Located, RunReport

ACTIVE = re.compile(r"[\\`*\[\]<>&|~$]|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown would read as markup inside a sentence; underscores only at the edge of a word."""
MARK = {"error": "❌", "warning": "⚠️", "info": "ℹ️"}


def parts(run: RunReport, _place: Place, style: Style) -> tuple[str, ...]:
    """A run; of a check, with the verdict, what the trainer will do, and the flags."""
    parts = plan_parts(run) if style.plan and run.files else []
    return ("\n\n".join([*parts, *run_parts(view(run, style.paths))]),)


def document(runs: Iterable[Told], ending: Ending, style: Style) -> Iterator[str]:
    """The runs, and a closing count."""
    if ending.tally.is_empty:
        yield prose(nothing_found(style.paths)) + "\n"
        return
    yield from (f"{run.parts[0]}\n\n" for run in runs)
    yield prose(summary(ending.tally, ending.seconds, ending.interruption)) + "\n"


def plan_parts(run: RunReport) -> list[str]:
    """Of the one file of a check: what it is good for, and what comes of a resume from it."""
    file = run.files[0]
    parts = [f"### {code(file.checkpoint.path)}"]
    if words := flags(file):
        parts.append(f"Resume with: {code(words)}")
    parts.append(f"**{prose(file.outlook)}**: {prose(verdict_words(file))}.")
    parts.append(f"Resume: {prose(resume_words(file))}.")
    if does := clauses(file, run):
        parts.append("\n".join(["The trainer", "", *(f"- {prose(clause)}" for clause in does)]))
    return parts


def run_parts(run: RunView) -> list[str]:
    """One run: heading, facts, table, findings, what was not checked."""
    parts = [f"### {code(run.path)}", f"{run.contents}."]
    if run.facts:
        parts.append("\n".join(f"- {prose(name)}: {prose(source)}" for name, source in run.facts))
    if run.rows:
        columns = (*run.columns, *run.outcomes)
        rows = [["file", *(column.title for column in columns)]]
        rows += [["---", *("---:" if column.is_number else "---" for column in columns)]]
        rows += [[code(row.name).replace("|", "\\|"), *row.cells, *row.outcomes] for row in run.rows]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    if run.serious or run.notes:
        parts.append("\n".join(map(item, (*run.serious, *run.notes))))
    points = [
        f"- {prose(point.sentence)}" + (f" To settle it: {code(point.settle)}" if point.settle else "")
        for point in run.open_points
    ]
    return [*parts, "\n".join(points)] if points else parts


def item(paragraph: Paragraph) -> str:
    """A group of findings as a list item."""
    number, _, name = paragraph.rule.partition(" ")
    files = f" ({prose(paragraph.files)})" if paragraph.files else ""
    lines = [f"- {MARK[paragraph.severity]} **{prose(number)}** {prose(name)}{files}: {prose(paragraph.message)}"]
    lines += [f"  - also {prose(paragraph.also)}"] if paragraph.also else []
    lines += [f"  - cure: {code(cure) if is_command(cure) else prose(cure)}" for cure in paragraph.cures]
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
