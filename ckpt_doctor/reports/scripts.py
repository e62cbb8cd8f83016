"""What linting found in training scripts, for a terminal or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from ckpt_doctor.reports import text
from ckpt_doctor.reports.json_v1 import dumps, finding_dict
from ckpt_doctor.reports.table import MAX_TEXT, STYLE
from ckpt_doctor.types import Linted, Located


def script_table(linted: Linted, *, width: int = 80, color: bool = False) -> str:
    """File by file: line, finding, and the code that may replace it."""
    blocks = []
    for path, items in groupby(linted.findings, key=lambda item: item.path):
        lines = [text.styled(text.shorten(text.clean(path), width), "bold", color)]
        for item in items:
            lines += finding_lines(item, min(width, MAX_TEXT), color)
        blocks.append("\n".join(lines))
    open_points = [
        line
        for point in linted.not_checked
        for line in text.wrap(
            f"not checked: {text.clean(point.what)}: {text.clean(point.why)}."
            + (f" To settle it: {text.clean(point.settle)}" if point.settle else ""),
            min(width, MAX_TEXT),
            "",
            "  ",
        )
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
    lines[0] = lines[0].replace(title, text.styled(title, STYLE[finding.severity], color), 1)
    if item.excerpt:
        lines.append(" " * 7 + text.shorten("now:     " + text.clean(item.excerpt), MAX_TEXT))
    if item.suggestion:
        lines.append(" " * 7 + "instead:")
        lines += [(" " * 11 + text.clean(line)).rstrip() for line in item.suggestion.split("\n")]
    return lines


def script_json(linted: Linted, *, version: str) -> str:
    """`{"version", "tool", "scripts": [...], "findings": [...], "not_checked": [...], "summary"}`."""
    severities = [item.finding.severity for item in linted.findings]
    document: Mapping[str, Any] = {
        "version": 1,
        "tool": {"name": "ckpt-doctor", "version": version},
        "scripts": [str(path) for path in linted.scripts],
        "findings": [
            {
                **finding_dict(item.finding),
                "path": str(item.path),
                "line": item.line,
                "column": item.column,
                "end_line": item.end_line,
                "cell": item.cell,
                "code_line": item.excerpt,
                "suggestion": item.suggestion,
            }
            for item in linted.findings
        ],
        "not_checked": [{"what": n.what, "why": n.why, "settle": n.settle} for n in linted.not_checked],
        "summary": {
            "scripts": len(linted.scripts),
            "errors": severities.count("error"),
            "warnings": severities.count("warning"),
        },
    }
    return dumps(document)
