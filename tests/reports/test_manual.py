"""The rules as text: a list of all, and the manual of one."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from ckpt_doctor.reports.manual import catalogue, manual, summary
from tests.reports.report_samples import RULES


@pytest.mark.parametrize("width", [40, 70, 200])
def test_the_list_of_rules_says_all_at_any_width(width: int) -> None:
    lines = catalogue(RULES, width=width).splitlines()
    assert max(map(len, lines)) <= width
    (first,) = (n for n, line in enumerate(lines) if re.match(r"E601\s+missing-best-score\s+warning", line))
    assert "Is missing." in lines[first] + lines[first + 1]
    assert "\n".join(lines).count("word") == RULES[1].manual.split("\n\n")[0].count("word")


def test_a_manual_is_printed_in_full() -> None:
    word = "word " * 60
    assert manual(RULES[1]) == f"F101 truncated (error)\n\n{word.strip()}\n"


def test_below_it_each_trainer_has_a_heading_and_its_own_rules() -> None:
    heading, *paragraphs = manual(RULES[0]).rstrip().split("\n\n")
    assert heading == "E601 missing-best-score (warning)"
    assert paragraphs == [
        "Is missing.",
        "Why: it is.",
        "## In checkpoints of the Trainer (warning)",
        "One.",
        "Two.",
        "## In checkpoints of a loop and Lightning (info)",
        "Three.",
    ]


def test_a_summary_is_the_first_paragraph_on_one_line() -> None:
    rule = SimpleNamespace(manual="One\n    sentence of\n    three lines.\n\n    Why.\n    ")
    assert "One sentence of three lines." == summary(rule)
