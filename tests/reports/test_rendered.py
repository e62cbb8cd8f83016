"""Rendered runs as bytes and back, and the end of a report."""

from __future__ import annotations

import pytest

from ckpt_doctor.reports.documents import told
from ckpt_doctor.reports.rendered import Ending, Place, Style, Told, packed, unpacked
from ckpt_doctor.reports.tally import Tally
from tests.reports.report_samples import advised, hostile


@pytest.mark.parametrize("form", ["table", "json", "sarif", "github", "markdown", "html"])
def test_a_rendered_run_comes_back_from_its_bytes(form: str) -> None:
    for run in (*advised().runs, *hostile().runs):
        one = told(run, Place("name"), Style(form))
        assert one == unpacked(packed(one))


def test_a_name_that_is_no_text_comes_back_from_bytes() -> None:
    odd = Told(("\udc80 \x00\n",), Tally())
    assert odd == unpacked(packed(odd))


@pytest.mark.parametrize(
    ("missed", "expected"), [(0, ""), (1_234, "Interrupted before 1,234 of 5,000 runs were judged")]
)
def test_an_end_says_how_many_runs_were_not_judged(missed: int, expected: str) -> None:
    assert expected == Ending(Tally(), 1.0, missed, 5_000).interruption
