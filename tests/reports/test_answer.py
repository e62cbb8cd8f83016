"""The answer in words: what to do in the first line, what one copies whole and on one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.reports.answer import answer, answer_lines, answers_of, laid_out
from ckpt_doctor.types import Advice, Blank, LeftLog, PassedOver, Report, WayOut
from tests.reports.report_samples import HOSTILE, RUN, example, file, report

COMMAND = ("ckpt-doctor", "migrate", "--all", "my run/a")
ADVICE = Advice("repair", RUN, RUN / "a", "a", "step 5 of 9", COMMAND)


def lines(width: int = 100, **changes: Any) -> list[str]:
    return laid_out(answer(replace(ADVICE, **changes)), width)


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({}, "resume from a (step 5 of 9) after: ckpt-doctor migrate --all 'my run/a'"),
        ({"kind": "resume", "command": ()}, "resume from a (step 5 of 9)"),
        ({"kind": "resume", "command": (), "position": ""}, "resume from a"),
        ({"kind": "complete"}, "nothing is left to train: a (step 5 of 9) is the end of the run"),
        ({"kind": "none", "reason": "F101 cut"}, "a is not safe to resume from: F101 cut"),
        ({"kind": "none", "label": "", "reason": "b: F101 cut"}, "nothing here is safe to resume from: b: F101 cut"),
        ({"kind": "not judged", "reason": "nobody's"}, "resume not judged: nobody's; the newest is a (step 5 of 9)"),
    ],
)
def test_the_first_line_says_what_to_do(changes: dict[str, Any], first: str) -> None:
    assert first == lines(**changes)[0]


def test_what_one_copies_is_never_broken() -> None:
    assert ["resume from a (step 5 of 9)", "  after: ckpt-doctor migrate --all 'my run/a'"] == lines(40)


def test_a_caveat_comes_before_the_command() -> None:
    told = lines(caveats=("the trainer does not read it",))
    assert ["  note: the trainer does not read it", "  after: ckpt-doctor migrate --all 'my run/a'"] == told[1:]


def test_what_is_missing_is_named_with_what_it_is_and_the_way_out() -> None:
    out = WayOut(("E601", "R510"), (Path("run/best"),), ("ckpt-doctor", "migrate", "--ignore", "E601,R510"))
    told = lines(missing=(Blank("--val-loss", "LOSS", "the loss"),), reason="no log", way_out=out)
    assert told[1:] == [
        "  fill in: LOSS is the loss",
        "  because: no log",
        "  if nobody knows it: keep a copy of run/best, resume with --ignore E601,R510",
        "    after: ckpt-doctor migrate --ignore E601,R510",
    ]


def test_flags_logs_and_those_passed_over_have_lines_of_their_own() -> None:
    told = lines(
        flags=("--lr", "1"),
        left_logs=(LeftLog(Path("b.log"), "of another run"),),
        passed_over=(PassedOver(RUN / "c", "c", "F101", "truncated archive"), PassedOver(RUN / "d", "d", "", "odd")),
        stays=("P411 diverged-before",),
        better=replace(ADVICE, label="z", command=()),
    )
    assert told[1:] == [
        "  with: --lr 1",
        "  not taken: b.log: of another run",
        "  passed over: c (F101 truncated archive), d (odd)",
        "  differs all the same: P411 diverged-before",
        "  better: z (step 5 of 9) lies beside it",
    ]


def test_where_the_resume_is_open_nothing_is_said_to_differ_for_certain() -> None:
    """R508 in particular holds only where the script does not build its scheduler at its position."""
    told = lines(kind="resume", command=(), reason="the order of the batches", stays=("R508 scheduler-absent",))
    assert "  may differ all the same: R508 scheduler-absent" == told[-1]


def test_what_was_found_in_a_file_that_is_not_judged_says_nothing_of_its_resume() -> None:
    told = lines(
        kind="not judged", command=(), reason="no known trainer wrote this", stays=("P401 step-name-mismatch",)
    )
    assert "  found: P401 step-name-mismatch" == told[-1]


def test_runs_are_named_where_there_are_several_and_nobodys_are_told_together() -> None:
    one = replace(example().runs[0], advice=ADVICE)
    other = replace(one, run=replace(one.run, path=RUN.with_name("other")))
    foreign = replace(report(file("x/a", resume="not judged")).runs[0], advice=replace(ADVICE, kind="not judged"))
    told = [*answer_lines(answers_of(Report((one, other, foreign, foreign), 0.1)), 100)]
    assert [True, True] == ["...Drive: " in told[0] or "Drive: " in told[0], told[2].startswith("other: ")]
    assert told[-1] == "resume not judged: 2 checkpoints of no known trainer in 2 folders"
    assert ["resume from a (step 5 of 9) after: ckpt-doctor migrate --all 'my run/a'"] == [
        *answer_lines(answers_of(Report((one,), 0.1)), 100)
    ]


def test_nothing_from_a_file_acts_on_the_terminal() -> None:
    hostile = Advice(
        "facts",
        Path(HOSTILE),
        Path(HOSTILE),
        HOSTILE,
        "step 1",
        ("a", HOSTILE),
        (HOSTILE,),
        (PassedOver(Path(HOSTILE), HOSTILE, "F1", HOSTILE),),
        (HOSTILE,),
        HOSTILE,
        (Blank("--x", "X", HOSTILE),),
        Path(HOSTILE),
        ("b", HOSTILE),
        (HOSTILE,),
        WayOut(("E1",), (Path(HOSTILE),), (HOSTILE,)),
        (LeftLog(Path(HOSTILE), HOSTILE),),
    )
    for kind in ("facts", "none", "complete", "not judged"):
        told = laid_out(answer(replace(hostile, kind=kind)), 60)  # type: ignore[arg-type]
        assert all(line.isprintable() and HOSTILE not in line for line in told), kind
