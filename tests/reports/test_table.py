"""The terminal report: facts, table, findings by cause with their cure, what was not checked."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from unicodedata import combining, east_asian_width

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.reports import judged as table
from ckpt_doctor.reports.table import SCREEN
from ckpt_doctor.reports.text import shorten_all
from ckpt_doctor.types import Finding, NotChecked, Report
from tests.reports.many_findings import faults
from tests.reports.report_samples import (
    DEEP,
    HOSTILE,
    NO_BEST_SCORE,
    RUN,
    advised,
    example,
    file,
    flat,
    hostile,
    report,
)

ANSI = re.compile(r"\x1b\[\d*m")


def columns(line: str) -> int:
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in line)


@pytest.mark.parametrize("width", [60, 80, 97, 200])
def test_every_line_fits_the_width(width: int) -> None:
    assert max(map(columns, table(example(), width=width).splitlines())) <= width


def test_colour_changes_no_character() -> None:
    assert table(example()) == ANSI.sub("", table(example(), color=True))
    assert table(example()) != table(example(), color=True)


def test_findings_without_effect_come_last_and_apart() -> None:
    info = Finding("L305", "device-bound", "info", "tagged cuda:0.", migration="to-cpu")
    printed = table(report(file(RUN / "checkpoint", info, NO_BEST_SCORE)))
    assert printed.index("E601") < printed.index("worth knowing:") < printed.index("L305")
    assert "worth knowing" not in table(example())


@pytest.mark.parametrize("count", [1, 4, 10, 40])
def test_a_run_with_findings_takes_a_screen_with_its_answer(tmp_path: Path, count: int) -> None:
    """Nine rules find something in each file of the report, and its facts, notes and questions are told."""
    told = replace(advised(), runs=tuple(replace(run, files=tuple(faults(count, of=9))) for run in advised().runs))
    for width in (80, 120):
        assert len(table(told, width=width).splitlines()) <= SCREEN
    assert len(table(told, detail="all").splitlines()) > SCREEN - 5


def test_findings_that_differ_in_their_cures_alone_are_one_where_no_cure_is_shown() -> None:
    late = Finding("R510", "late-rng-state", "warning", "batches come twice")
    files = [file(RUN / "a", late), file(RUN / "b", replace(late, fix="keep the state of the epoch's beginning"))]
    assert table(report(*files), detail="all").count("batches come twice") == 2
    quiet = table(report(*files), detail="quiet")
    assert quiet.count("batches come twice") == 1
    assert "R510 late-rng-state (a, b)" in quiet


@given(st.lists(st.text("ab", min_size=30, max_size=40), min_size=2, max_size=5, unique=True), st.integers(12, 29))
def test_shortened_names_of_runs_stay_different(names: list[str], width: int) -> None:
    shown = shorten_all(names, width)
    assert len(set(shown)) == len(names)
    assert all(len(short) <= width or short in names for short in shown)


def test_runs_that_differ_in_the_middle_only_are_told_apart_within_the_width() -> None:
    runs = ["checkpoints/" + "x" * 60 + f"_sl{n}_" + "y" * 60 for n in (256, 512)]
    shown = shorten_all(runs, 80)
    assert all(f"_sl{n}_" in short for n, short in zip((256, 512), shown, strict=True))
    assert max(map(len, shown)) <= 80


def test_what_only_a_deep_scan_reads_is_named_in_the_last_line() -> None:
    assert "Not checked: stored checksums and NaN (--deep)." in flat(table(example()))


def test_after_a_deep_scan_nothing_is_said_to_be_unchecked() -> None:
    assert "Not checked" not in table(report(file(RUN / "checkpoint", not_checked=())))


def test_a_question_that_stays_open_comes_with_what_would_settle_it() -> None:
    open_point = NotChecked("the schedule", "TST and type1 both fit", "--lradj")
    printed = table(report(file(RUN / "checkpoint", not_checked=(DEEP, open_point))))
    assert "not checked: the schedule: TST and type1 both fit. To settle it: --lradj" in flat(printed)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["ok"], "1 checkpoint: 1 ok."),
        (["repairable", "broken", "broken"], "3 checkpoints: 1 repairable, 2 broken."),
    ],
)
def test_the_last_line_counts_verdicts(verdicts: list[str], expected: str) -> None:
    files = [file(RUN / f"c{i}", verdict=verdict) for i, verdict in enumerate(verdicts)]
    assert expected in flat(table(report(*files)))


def test_the_last_line_tells_time_and_bytes_read() -> None:
    assert "0.09 s, 210 KB read of 9.3 GiB." in flat(table(example()))


def test_a_scan_that_finds_nothing_says_where_it_looked_and_for_what() -> None:
    printed = table(Report((), 0.01, (Path("empty/folder"),)))
    assert printed.startswith("No checkpoints in empty/folder: ")


def test_no_control_character_of_a_name_reaches_the_terminal() -> None:
    printed = table(hostile())
    assert not re.search(r"[^\n -\x7e]", printed)
    assert HOSTILE not in printed
    assert r"\x1b[2J" in printed


NAMES = st.text(alphabet="abc_长期预测検査한글שלוםسلامé́🚀🧪", min_size=1, max_size=20)


@given(st.lists(NAMES, min_size=2, max_size=4, unique=True))
def test_columns_stay_aligned_whatever_the_script_of_the_names(names: list[str]) -> None:
    """The verdicts, in the last column, start at one display column in every row."""
    printed = table(report(*[file(RUN / name, role="best") for name in names]))
    rows = [line for line in printed.splitlines() if line.endswith(("  ok", "  verdict"))]
    assert len(names) + 1 == len(rows)
    assert len({columns(row[: row.rindex("  ") + 2]) for row in rows}) == 1
