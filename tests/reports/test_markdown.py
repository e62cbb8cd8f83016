"""Markdown: the findings once each with their cures, and no markup out of a name."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.reports import judged
from ckpt_doctor.reports.markdown import code, markdown_list, prose
from ckpt_doctor.types import Located, Report
from tests.reports.report_samples import IN_SCRIPT, NO_BEST_SCORE, RATE_JUMP, RUN, example, file, hostile, report


def markdown(report: Report, *, plan: bool = False) -> str:
    return judged(report, "markdown", plan=plan)


def test_markdown_tells_the_same_finding_once_with_its_cure() -> None:
    text = markdown(example())
    assert text.count("E601") == 1
    assert "`ckpt-doctor migrate --add-best-score`" in text


def test_the_markdown_of_a_check_begins_with_the_flags_the_verdict_and_the_plan() -> None:
    text = markdown(report(file(RUN / "checkpoint", NO_BEST_SCORE)), plan=True)
    order = ["Resume with: `--learning_rate 4e-06`", "**repairable**: migrate", "Resume: differs", "starts at epoch 1"]
    places = [text.index(words) for words in (*order, "| file |")]
    assert places == sorted(places)


def test_every_row_of_the_markdown_table_has_the_same_cells() -> None:
    rows = [line for line in markdown(report(file(RUN / "a|b"), file(RUN / "c"))).splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


@given(st.text(alphabet="a_*`<>[]|\\&~$ "))
def test_markup_in_a_sentence_is_escaped(sentence: str) -> None:
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*<>\[\]|&~$]", prose(sentence))


@given(st.text(alphabet="a`\n", min_size=1))
def test_a_code_span_is_longer_fenced_than_any_backticks_inside(value: str) -> None:
    span = code(value)
    fence = re.match("`+", span)[0]  # type: ignore[index]
    inside = span[len(fence) : -len(fence)]
    assert span.endswith(fence)
    assert fence not in re.findall("`+", inside)


def test_no_html_and_no_control_character_of_a_name_reaches_the_page() -> None:
    outside_code = re.sub(r"(`+).*?(?<!`)\1(?!`)", "", markdown(hostile()))
    assert "\x1b" not in outside_code
    assert "<script>" not in outside_code


def test_findings_in_scripts_name_file_line_and_replacement() -> None:
    text = markdown_list([IN_SCRIPT, Located(RATE_JUMP, Path("a.ipynb"), line=2, cell=7)])
    assert "`run_main.py:3`" in text
    assert "instead: `pass`" in text
    assert "`a.ipynb, cell 7, line 2`" in text
