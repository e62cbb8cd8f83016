"""One view of a run, which table, page and markdown lay out."""

from __future__ import annotations

import re
from html import unescape

import pytest

from ckpt_doctor.reports import judged
from ckpt_doctor.reports.view import view
from ckpt_doctor.types import Report
from tests.reports.report_samples import FOREIGN, NOTE, RUN, example, file, report

REPORTS = {"of a trainer": example(), "of nobody": Report((FOREIGN,), 0.1)}


def words(judged_report: Report, form: str) -> str:
    """What a reader sees, tags, marks and rulers left out."""
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", judged(judged_report, form, width=200), flags=re.DOTALL)
    return " ".join(re.sub(r"[|`]", " ", unescape(text)).split())


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("form", ["table", "html", "markdown"])
def test_every_format_shows_the_same_columns_and_cells(name: str, form: str) -> None:
    shown = view(REPORTS[name].runs[0], ())
    printed = words(REPORTS[name], form)
    assert shown.rows
    assert " ".join(column.title for column in shown.columns) in printed
    assert " ".join(column.title for column in shown.outcomes) in printed
    for row in shown.rows:
        assert " ".join(row.cells) in printed
        assert " ".join(row.outcomes) in printed


@pytest.mark.parametrize("form", ["table", "html"])
def test_notes_are_worth_knowing_and_nothing_more_is_said_of_them_all(form: str) -> None:
    """One of them says that dropout draws other numbers: whether a note matters to a resume is its own word."""
    ours = report(file(RUN / "checkpoint", NOTE))
    assert "worth knowing" in words(ours, form).lower()
    assert "no effect" not in words(ours, form).lower().replace(NOTE.message.lower(), "")
