"""Documents that are put together of rendered runs, in any format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ckpt_doctor.reports.documents import Style, document, ending, names_of, told, whole
from ckpt_doctor.reports.rendered import Place
from ckpt_doctor.types import RunReport
from tests.reports.report_samples import RUN, advised

FORMS = ["table", "json", "sarif", "github", "markdown", "html"]


def runs() -> list[RunReport]:
    [one] = advised().runs
    return [replace(one, run=replace(one.run, path=RUN.with_name(name))) for name in ("a", "b", "c")]


@pytest.mark.parametrize("form", FORMS)
def test_a_document_of_some_runs_is_whole(form: str) -> None:
    """Of an interrupted scan: what is missing is said, where the format has a place for it."""
    style = Style(form)
    rendered = [told(run, Place(f"<{n}>", n, 3), style) for n, run in enumerate(runs()[:2], 1)]
    text = "".join(document(rendered, ending(rendered, 1.0, 3, missed=1), style))
    if form in ("table", "markdown", "html"):
        assert "Interrupted before 1 of 3 runs were judged." in " ".join(text.split())
    if form == "json":
        assert 1 == json.loads(text)["summary"]["runs_not_judged"]
        assert 2 == len(json.loads(text)["runs"])
    if form == "sarif":
        assert json.loads(text)["runs"][0]["results"]


@pytest.mark.parametrize("form", FORMS)
def test_a_document_of_no_run_is_whole(form: str) -> None:
    text = whole([], 1.0, Style(form, paths=(Path("here"),)))
    if form in ("table", "markdown", "html"):
        assert "No checkpoints in here" in text
    if form in ("json", "sarif"):
        json.loads(text)
    assert "runs_not_judged" not in text


def test_the_table_shortens_names_so_that_they_differ_and_a_page_leaves_out_what_they_share() -> None:
    long = [Path("/x/" + "y" * 90 + end) for end in ("/one", "/two")]
    assert all(len(name) <= 40 for name in names_of(long, Style(width=40)))
    assert 2 == len(set(names_of(long, Style(width=40))))
    assert ["one", "two"] == names_of(long, Style("html"))
    assert ["a", "/b"] == names_of([Path("a"), Path("/b")], Style("html"))
