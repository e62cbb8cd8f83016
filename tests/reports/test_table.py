"""The terminal report: facts, table, findings by cause with their cure, what was not checked."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from unicodedata import combining, east_asian_width

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.reports import judged as table
from ckpt_doctor.reports.table import SCREEN
from ckpt_doctor.reports.text import quoted, shorten_all
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.types import EarlyStoppingState, Evidence, Finding, NotChecked, Report
from tests.reports.many_findings import faults
from tests.reports.report_samples import DEEP, HOSTILE, NO_BEST_SCORE, RUN, advised, example, file, hostile, report

ANSI = re.compile(r"\x1b\[\d*m")


def columns(line: str) -> int:
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in line)


def flat(printed: str) -> str:
    """Text without its line breaks."""
    return " ".join(printed.split())


@pytest.mark.parametrize("width", [60, 80, 97, 200])
def test_every_line_fits_the_width(width: int) -> None:
    assert max(map(columns, table(example(), width=width).splitlines())) <= width


def test_colour_changes_no_character() -> None:
    assert table(example()) == ANSI.sub("", table(example(), color=True))
    assert table(example()) != table(example(), color=True)


def test_the_same_finding_of_several_files_is_told_once() -> None:
    printed = table(example())
    assert printed.count("E601") == 1
    assert "E601 missing-best-score (3 files): EarlyStopping would start blind" in flat(printed)


def test_a_finding_of_some_files_names_them() -> None:
    assert "R506 rate-jump (checkpoint_step_17000, checkpoint_step_18000):" in flat(table(example()))


def test_the_only_file_of_a_run_is_not_named_again() -> None:
    assert "E601 missing-best-score: EarlyStopping" in flat(table(report(file(RUN / "checkpoint", NO_BEST_SCORE))))


def test_each_cure_stands_on_its_own_line() -> None:
    lines = [line.strip() for line in table(example()).splitlines()]
    assert "cure: ckpt-doctor migrate --add-best-score" in lines
    assert "cure: add --learning_rate 4e-06 to the resume command" in lines


def test_a_migration_is_told_the_path_that_the_scan_was_given() -> None:
    elsewhere = replace(example(), paths=(Path("/my drive/checkpoints"),))
    assert "cure: ckpt-doctor migrate --add-best-score '/my drive/checkpoints'" in table(elsewhere)


def test_a_cure_of_one_file_names_it() -> None:
    cut = Finding("F101", "truncated-archive", "error", "the end is missing.", fix="ckpt-doctor salvage FILE -o OUT")
    printed = table(report(file(Path("a b/checkpoint.pt"), cut), path=Path("a b")))
    assert "cure: ckpt-doctor salvage 'a b/checkpoint.pt' -o OUT" in printed


def test_a_cure_of_several_files_is_written_out_for_the_first_and_counts_the_rest() -> None:
    cut = Finding("F101", "truncated-archive", "error", "the end is missing.", fix="ckpt-doctor salvage FILE -o OUT")
    printed = table(report(*[file(RUN / f"c{i}", cut) for i in range(5)]))
    assert f"cure: ckpt-doctor salvage {RUN}/c2 -o OUT\n" in printed
    assert "cure: and so on for 2 more" in printed


def test_a_migration_is_told_the_facts_that_the_scan_was_given_but_not_those_of_the_settings() -> None:
    facts = TimeLLMFacts(
        lradj=Evidence("TST", "--lradj", given=True),
        learning_rate=Evidence(4e-6, "learning_rate of the script", given=True),
        patience=Evidence(5, "pyproject.toml", given=True),
        steps_per_epoch=Evidence(45, "the log"),
    )
    printed = table(report(file(RUN / "checkpoint", NO_BEST_SCORE), facts=facts))
    assert "cure: ckpt-doctor migrate --add-best-score --lradj TST --learning-rate 4e-06\n" in printed


FILE_NAMES = st.one_of(st.binary(min_size=1), st.text(min_size=1).map(str.encode))


@given(FILE_NAMES.map(lambda name: os.fsdecode(name.replace(b"\0", b"x"))))
def test_a_path_in_a_cure_is_one_word_for_the_shell(name: str) -> None:
    word = quoted(name)
    if word.startswith("$'"):
        assert re.fullmatch(r"\$'(?:[^'\\]|\\x[0-9a-f]{2})*'", word)
        back = re.sub(rb"\\x(..)", lambda m: bytes.fromhex(m[1].decode()), word[2:-1].encode())
        assert os.fsencode(name) == back
    else:
        assert [name] == shlex.split(word)


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


def test_facts_are_printed_with_their_sources() -> None:
    printed = flat(table(example()))
    assert "lradj type1 scheduler never stepped" in printed
    assert "8,640 steps per epoch checkpoint: 17,280 steps at epoch 2" in printed


def test_an_open_schedule_mode_is_said_to_be_open() -> None:
    facts = TimeLLMFacts(candidates={"lradj": ("TST", "type1")})
    assert "lradj not settled  TST or type1" in table(report(file(RUN / "checkpoint"), facts=facts))


def test_a_fact_given_on_the_command_line_names_the_option() -> None:
    facts = TimeLLMFacts(patience=Evidence(10, "--patience", given=True))
    assert "patience 10  --patience" in table(report(file(RUN / "checkpoint"), facts=facts))


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


def test_best_scores_are_missing_or_not_there_yet_or_shown() -> None:
    before_any = file(RUN / "checkpoint_step_10/checkpoint.pt", early_stopping=Evidence(EarlyStoppingState(), "log"))
    known = file(RUN / "checkpoint_step_20/checkpoint.pt", best_score=-0.2919713)
    missing = file(RUN / "checkpoint_step_30/checkpoint.pt", NO_BEST_SCORE)
    printed = table(report(before_any, known, missing))
    assert "none yet" in printed
    assert "-0.2919713" in printed
    assert "missing " in printed


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


def test_files_of_no_known_trainer_get_columns_that_fit_them() -> None:
    foreign = file("models/a.safetensors", container="safetensors", layout="state-dict", role=None, not_checked=())
    foreign_report = report(foreign, path=Path("models"), facts=TimeLLMFacts())
    run = replace(foreign_report.runs[0], run=replace(foreign_report.runs[0].run, trainer=""))
    printed = table(replace(foreign_report, runs=(run,)))
    assert "safetensors" in printed
    assert "best score" not in printed
