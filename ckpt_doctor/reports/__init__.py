"""Report -> text, JSON, HTML and the forms of other tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpt_doctor.types import Report


def scan_fragment(report: Report) -> str:
    """HTML of a scan's report for a notebook."""
    from ckpt_doctor.reports.notebook import report_fragment

    return report_fragment(report)


def check_fragment(report: Report) -> str:
    """HTML of a check's report for a notebook: the plan too."""
    from ckpt_doctor.reports.notebook import plan_fragment

    return plan_fragment(report)
