"""Counts of a report, run by run: all together they are those of the whole."""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor.reports.tally import Tally, omitted, summary, tally, total
from tests.reports.report_samples import DEEP, NO_BEST_SCORE, RUN, example, file, report


def test_the_counts_of_runs_add_up_to_those_of_one_with_all_their_files() -> None:
    one, two = report(file(RUN / "a", NO_BEST_SCORE)), report(file(RUN / "b"), file(RUN / "c", not_checked=(DEEP,)))
    [first], [second] = one.runs, two.runs
    assert tally(replace(first, files=(*first.files, *second.files))) == total([tally(first), tally(second)])


def test_nothing_is_counted_of_no_run() -> None:
    assert Tally() == total([])
    assert total([]).is_empty
    assert not tally(example().runs[0]).is_empty


def test_what_only_deep_looks_at_is_told_once() -> None:
    runs = report(file(RUN / "a", not_checked=(DEEP,)), file(RUN / "b", not_checked=(DEEP,))).runs
    counts = total(tally(run) for run in [*runs, *runs])
    assert f"Not checked: {DEEP.what} (--deep)." == omitted(counts.deep_only)


def test_the_last_line_says_how_far_an_interrupted_scan_came() -> None:
    counts = tally(example().runs[0])
    assert "Interrupted. 0.50 s" in summary(counts, 0.5, "Interrupted")
    assert "Interrupted" not in summary(counts, 0.5)
