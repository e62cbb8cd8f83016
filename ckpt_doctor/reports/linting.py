"""What linting found in training scripts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ckpt_doctor.reports import text
from ckpt_doctor.reports.manual import Rule
from ckpt_doctor.reports.view import open_point
from ckpt_doctor.types import Linted, Located


def linted(
    result: Linted, form: str = "table", *, rules: Sequence[Rule] = (), width: int = 80, color: bool = False
) -> str:
    """What linting found; SARIF describes those of `rules` that found something."""
    if form == "table":
        return script_table(result, width=width, color=color)
    if form == "json":
        from ckpt_doctor.reports import json_v1

        return json_v1.linted(result)
    if form == "markdown":
        from ckpt_doctor.reports.markdown import markdown_list

        return markdown_list(result.findings)
    if form == "html":
        from ckpt_doctor.reports.html import scripts_page

        return scripts_page(result)
    if form == "github":
        from ckpt_doctor.reports.github import github

        return github(result.findings)
    from ckpt_doctor.reports.sarif import sarif

    return sarif(result.findings, rules)


def script_table(linted: Linted, *, width: int = 80, color: bool = False) -> str:
    """File by file: line, finding, and the code that may replace it."""
    blocks = []
    for path, items in groupby(linted.findings, key=lambda item: item.path):
        lines = [text.styled(text.shorten(text.clean(path), width), "bold", color)]
        for item in items:
            lines += finding_lines(item, min(width, text.MAX_TEXT), color)
        blocks.append("\n".join(lines))
    open_points = [
        line
        for point in linted.not_checked
        for line in text.wrap(str(open_point(point)), min(width, text.MAX_TEXT), "", "  ")
    ]
    if open_points:
        blocks.append("\n".join(open_points))
    counts = [item.finding.severity for item in linted.findings]
    found = f"{text.plural(counts.count('error'), 'error')}, {text.plural(counts.count('warning'), 'warning')}"
    blocks.append(f"{text.plural(len(linted.scripts), 'script')}: {found}.")
    return "\n\n".join(blocks) + "\n"


def finding_lines(item: Located, width: int, color: bool) -> list[str]:
    """`line 120: X901 deletes-checkpoints: ...`, then the code as it is and what may replace it."""
    finding = item.finding
    title = f"{finding.code} {finding.name}" + (" (info)" if finding.severity == "info" else "")
    cell = "" if item.cell is None else f"cell {item.cell}, "
    lines = text.wrap(f"{cell}line {item.line}: {title}: {text.clean(finding.message)}", width, "  ", " " * 7)
    lines[0] = lines[0].replace(title, text.styled(title, finding.severity, color), 1)
    if item.excerpt:
        lines.append(" " * 7 + text.shorten("now:     " + text.clean(item.excerpt), text.MAX_TEXT))
    if item.suggestion:
        lines.append(" " * 7 + "instead:")
        lines += [(" " * 11 + text.clean(line)).rstrip() for line in item.suggestion.split("\n")]
    return lines
