"""The findings of a report, each with its place."""

from __future__ import annotations

from ckpt_doctor.reports.groups import RANK
from ckpt_doctor.types import Finding, Located, Report


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
