"""One view of a run, which table, page and markdown lay out."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest

from ckpt_doctor.reports import judged
from ckpt_doctor.reports.view import view
from ckpt_doctor.types import Finding, Report
from tests.reports.report_samples import RUN, example, file, report

NOTE = Finding("L305", "device-bound", "info", "tensors are tagged cuda:0", "")
[WEIGHTS] = report(
    file(RUN / "weights.pt", NOTE, role=None, container="safetensors", layout="state-dict", resume="not judged")
).runs
FOREIGN = replace(WEIGHTS, run=replace(WEIGHTS.run, trainer=""))
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


def test_a_file_that_no_known_trainer_wrote_has_its_format_and_no_step() -> None:
    titles = [column.title for column in view(FOREIGN, ()).columns]
    assert "format" in titles
    assert "step" not in titles


def test_only_of_a_trainers_file_is_it_said_that_a_note_has_no_effect_on_the_resume() -> None:
    ours = report(file(RUN / "checkpoint", NOTE), file(RUN / "weights.pt")).runs[0]
    assert "no effect on the trainer's resume" in view(ours, ()).notes_title
    assert view(FOREIGN, ()).notes_title == "worth knowing"
    beside = replace(ours, run=replace(ours.run, unjudged=(RUN / "checkpoint",)))
    assert view(beside, ()).notes_title == "worth knowing"
