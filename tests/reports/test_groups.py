"""Findings that say the same of several files are told once, and what differs is said."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ckpt_doctor.reports import judged as table
from ckpt_doctor.reports import text
from ckpt_doctor.reports.groups import Group, cause, likewise, unchecked
from ckpt_doctor.types import Finding, Located, NotChecked
from tests.reports.report_samples import DEEP, NO_BEST_SCORE, RUN, example, file, flat, report


def test_the_same_finding_of_several_files_is_told_once() -> None:
    printed = table(example())
    assert printed.count("E601") == 1
    assert "E601 missing-best-score (3 files): EarlyStopping would start blind" in flat(printed)


def test_a_finding_of_some_files_names_them() -> None:
    assert "R506 rate-jump (checkpoint_step_17000, checkpoint_step_18000):" in flat(table(example()))


def test_the_only_file_of_a_run_is_not_named_again() -> None:
    assert "E601 missing-best-score: EarlyStopping" in flat(table(report(file(RUN / "checkpoint", NO_BEST_SCORE))))


def test_errors_come_before_warnings_and_these_before_info() -> None:
    findings = [
        Finding(code, "n", severity, "m") for code, severity in [("A1", "info"), ("B1", "warning"), ("C1", "error")]
    ]
    printed = table(report(file(RUN / "checkpoint", *findings)))
    assert re.findall(r"^  ([ABC]1) ", printed, re.M) == ["C1", "B1", "A1"]


def test_findings_that_differ_in_numbers_share_a_paragraph_that_says_of_the_others_in_what() -> None:
    files = [
        file(
            RUN / f"checkpoint_step_{n}/checkpoint.pt",
            Finding("R501", "scheduler-behind", "warning", f"it is at {n - 1}, not {n}.", found=n - 1, expected=n),
        )
        for n in (80, 100)
    ]
    printed = table(report(*files))
    assert printed.count("R501") == 1
    assert "R501 scheduler-behind (checkpoint_step_80): it is at 79, not 80." in printed
    assert "also checkpoint_step_100 (found 99, expected 100)" in printed


def test_of_many_files_that_differ_the_first_are_told_and_the_rest_counted() -> None:
    files = [file(RUN / f"checkpoint_step_{n}", Finding("R501", "n", "warning", f"at {n}", found=n)) for n in range(60)]
    printed = flat(table(report(*files)))
    assert "also checkpoint_step_1 (found 1), checkpoint_step_2 (found 2), checkpoint_step_3 (found 3) and 56 more" in (
        printed
    )


def test_findings_that_differ_in_a_list_of_lines_share_a_paragraph_too() -> None:
    messages = ["loss 0.62; line 7.", "loss 0.62; lines 7, 16.", "loss 0.62; lines 7, 16, 24."]
    files = [file(RUN / m, replace(NO_BEST_SCORE, message=m)) for m in messages]
    assert table(report(*files)).count("E601") == 1


def test_findings_with_different_causes_are_told_apart() -> None:
    other = replace(NO_BEST_SCORE, message="no log and no sibling knows the value.")
    assert table(report(file(RUN / "a", NO_BEST_SCORE), file(RUN / "b", other))).count("E601") == 2


def test_what_was_not_checked_is_counted_by_files() -> None:
    other = NotChecked("the order of the data", "it shuffles", "--shuffle")
    files = [file("a", not_checked=(DEEP, other, DEEP)), file("b", not_checked=(DEEP,))]
    assert [(DEEP, 2), (other, 1)] == unchecked(files)


def test_two_findings_are_one_where_rule_cure_and_sentence_agree_but_for_numbers() -> None:
    def found(message: str = "5 of 1,024 batches at 1e-05", **changes: object) -> object:
        return cause(Located(replace(NO_BEST_SCORE, message=message, **changes), Path("a")))

    assert found() == found("7 of 9 batches at 0.5")
    assert found() != found("5 of 1,024 epochs at 1e-05")
    assert found() != found(fix="another") != found(severity="error")
    assert found("w is damaged", tensors=("w",)) == found("head is damaged", tensors=("head",))


def test_damaged_tensors_of_two_files_are_told_apart() -> None:
    one, other = (Located(replace(NO_BEST_SCORE, tensors=("w",)), Path(name)) for name in "ab")
    assert cause(one) != cause(other)


def test_each_of_many_findings_is_looked_at_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are beside it."""
    looked: list[object] = []
    monkeypatch.setattr(text, "brief", lambda value: looked.append(value) or str(value))
    items = [Located(Finding("P412", "n", "info", "m", found=number), RUN / f"{number}.pt") for number in range(500)]
    group = Group(tuple(items))
    assert likewise(group, {item.path: item.path.name for item in items}).startswith("1.pt (found 1)")
    assert len(looked) <= 8 * len(items)
