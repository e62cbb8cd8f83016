"""The text of a check: what the trainer will do, beside the uninterrupted run."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ckpt_doctor.reports.check import check
from ckpt_doctor.types import EarlyStoppingState, Evidence, Finding, NotChecked, ResumePlan
from tests.reports.report_samples import (
    FACTS,
    HOSTILE,
    MID,
    NO_BEST_SCORE,
    RATE_JUMP,
    RUN,
    file,
    hostile,
    report,
    shown,
)


def foreign(*findings: Finding, **changes: object) -> str:
    return " ".join(check(report(file(RUN / "model.pt", *findings, resume="not judged", **changes))).split())


def test_a_resume_that_is_not_judged_is_not_advised() -> None:
    told = foreign()
    assert "verdict: not judged: whole and safe to load as far as was checked; whether a resume" in told
    assert "resume from it" not in told


def test_a_file_that_is_none_of_a_checkpoint_has_no_format() -> None:
    told = check(report(file("notes.txt", role=None, container="unknown", layout="other")))
    assert "of no known format" in told
    assert "unknown" not in told


def test_a_file_that_is_not_judged_is_safe_only_but_for_what_was_found() -> None:
    calls = Finding("S204", "foreign-call", "warning", "loading calls into a package", "package.module")
    assert "safe to load as far as was checked, but for S204;" in foreign(calls, verdict="ok")
    assert "repairable: migrate it; whether a resume continues the run is not judged" in foreign(NO_BEST_SCORE)
    assert "repairable: migrate it (S204 will stay); whether a resume" in foreign(NO_BEST_SCORE, calls)


LATE = Finding("R501", "scheduler-behind", "warning", "the schedule is behind")


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (LATE, "verdict: differs: a resume leaves the uninterrupted run's path, and no edit of the file cures that"),
        (LATE, "(R501); resume from another checkpoint, or accept it: --ignore R501."),
        (replace(LATE, fix="call step() once"), "differs: resume from it as told above, or the run differs (R501)."),
        (RATE_JUMP, "verdict: ok: resume from it with the flags above."),
    ],
)
def test_what_a_resume_does_not_get_over_is_not_ok(finding: Finding, expected: str) -> None:
    flagged = replace(MID, flags=("--learning_rate", "4e-06") if finding is RATE_JUMP else ())
    judged = file(RUN / "checkpoint", finding, verdict="ok", resume="differs", plan=flagged)
    assert expected in " ".join(check(report(judged)).split())


def test_what_a_repair_leaves_is_said_with_it() -> None:
    judged = file(RUN / "checkpoint", NO_BEST_SCORE, LATE, resume="differs", plan=MID)
    told = " ".join(check(report(judged)).split())
    assert "migrate, then resume; the run still differs: no edit of the file cures R501." in told


def test_a_missing_best_score_is_told_apart_from_none_yet() -> None:
    blind = ResumePlan(0, 5, 5, 1e-3, 1e-3, None, None, None)
    assert "best_score is missing" in shown(blind)
    assert "knows no validation loss yet" in shown(blind, early_stopping=Evidence(EarlyStoppingState(), "log"))


def test_flags_for_the_resume_command_have_a_line_of_their_own() -> None:
    lines = check(report(file(RUN / "checkpoint"), facts=FACTS)).splitlines()
    assert "  resume with: --learning_rate 4e-06" in lines


def test_a_file_without_a_plan_has_its_findings_and_its_verdict() -> None:
    printed = shown(None, verdict="broken", findings=(NO_BEST_SCORE,))  # type: ignore[arg-type]
    assert "The trainer" not in printed
    assert "E601 missing-best-score" in printed
    assert "verdict: broken: do not resume from it." in printed


@pytest.mark.parametrize(
    ("findings", "verdict", "expected"),
    [
        ((), "ok", "verdict: ok: resume from it."),
        ((RATE_JUMP,), "ok", "verdict: ok: resume from it as told above."),
        ((NO_BEST_SCORE,), "repairable", "verdict: repairable: migrate, then resume."),
    ],
)
def test_the_verdict_says_what_to_do(findings: tuple[object, ...], verdict: str, expected: str) -> None:
    assert expected in shown(MID, findings=findings, verdict=verdict)


def test_open_questions_and_unread_bytes_are_listed() -> None:
    point = NotChecked("the schedule", "two modes fit", "--lradj")
    printed = shown(MID, not_checked=(point, NotChecked("stored checksums", "reads all", "--deep")))
    assert "not checked: the schedule: two modes fit. To settle it: --lradj" in printed
    assert "Not checked: stored checksums (--deep)." in printed


def test_every_line_fits_80_columns_and_no_name_acts_on_the_terminal() -> None:
    assert (
        max(map(len, check(report(file(RUN / "checkpoint_step_17000/checkpoint.pt", NO_BEST_SCORE))).splitlines()))
        <= 80
    )
    printed = check(hostile())
    assert HOSTILE not in printed
    assert not re.search(r"[^\n -\x7e]", printed)
