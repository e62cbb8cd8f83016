"""Findings with their place: the common form of what a scan finds in checkpoints and `lint` finds in scripts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ckpt_doctor.reports.groups import RANK
from ckpt_doctor.types import Finding, Report


@dataclass(frozen=True)
class Located:
    """A finding in a file; in a script also at a line."""

    finding: Finding
    path: Path
    """The file, or the run folder for a finding about a run."""
    line: int | None = None
    """1-based; of the cell in a notebook."""
    column: int | None = None
    """1-based."""
    end_line: int | None = None
    cell: int | None = None
    """1-based number of the notebook cell."""
    suggestion: str = ""
    """Code that may replace the lines."""
    excerpt: str = ""
    """The line as it stands in the script, without its indentation."""


def located(report: Report) -> list[Located]:
    """All findings of a report: runs before their files, errors first in each."""
    items: list[Located] = []
    for run in report.runs:
        items += [Located(f, run.run.path) for f in _by_severity(run.findings)]
        for file in run.files:
            items += [Located(f, file.checkpoint.path) for f in _by_severity(file.findings)]
    return items


def _by_severity(findings: tuple[Finding, ...]) -> list[Finding]:
    return sorted(findings, key=lambda f: (RANK[f.severity], f.code))
