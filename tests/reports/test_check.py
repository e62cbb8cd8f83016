"""The text of a check: what the trainer will do, beside the uninterrupted run."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ckpt_doctor.reports.check import check
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.types import EarlyStoppingState, Evidence, Finding, NotChecked, ResumePlan
from tests.reports.report_samples import FACTS, HOSTILE, NO_BEST_SCORE, RATE_JUMP, RUN, file, hostile, report

MID = ResumePlan(
    start_epoch=3,
    skip_batches=512,
    global_step=26432,
    next_lr=3.2e-4,
    next_lr_uninterrupted=3.2e-4,
    best_score=-0.3812,
    counter=2,
    steps_left=59968,
)
PATIENT = TimeLLMFacts(
    steps_per_epoch=Evidence(8640, "log"), train_epochs=Evidence(10, "--train-epochs"), patience=Evidence(10, "log")
)


def shown(planned: ResumePlan, facts: TimeLLMFacts = PATIENT, **changes: object) -> str:
    return " ".join(check(report(file(RUN / "checkpoint", plan=planned, **changes), facts=facts)).split())


def test_where_training_starts_is_said_in_the_numbers_of_file_and_log() -> None:
    assert "starts at epoch 3 of 10 (epoch 4 in the log) and skips 512 of 8,640 batches" in shown(MID)


def test_the_first_rate_stands_beside_the_uninterrupted_run_with_its_place_in_the_schedule() -> None:
    where = "(position 26,432 of 86,400 in the schedule)"
    assert f"learning rate 0.00032, as the uninterrupted run does {where}" in shown(MID, last_epoch=26432)
    lagging = ResumePlan(3, 512, 26432, 0.0004, 0.00032, None, None, None)
    assert f"learning rate 0.0004, where the uninterrupted run has 0.00032 {where}" in shown(lagging, last_epoch=26432)


def test_rates_that_differ_in_the_last_digits_are_shown_in_full() -> None:
    lagging = ResumePlan(3, 512, 26432, 0.1 + 0.2, 0.3, None, None, None)
    assert "0.30000000000000004" in shown(lagging)


def test_an_idle_schedule_has_no_position() -> None:
    assert "position" not in shown(MID)


def test_what_early_stopping_remembers_is_a_loss_and_a_count() -> None:
    assert "best validation loss 0.3812, 2 of 10 epochs without improvement since" in shown(MID)


def foreign(*findings: Finding, **changes: object) -> str:
    return " ".join(check(report(file(RUN / "model.pt", *findings, resume="not judged", **changes))).split())


def test_a_resume_that_is_not_judged_is_not_advised() -> None:
    told = foreign()
    assert "verdict: not judged: whole and safe to load as far as was checked; whether a resume" in told
    assert "resume from it" not in told


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
    assert "migrate, then resume; the run differs all the same, for no edit of the file cures R501." in told


def test_a_missing_best_score_is_told_apart_from_none_yet() -> None:
    blind = ResumePlan(0, 5, 5, 1e-3, 1e-3, None, None, None)
    assert "best_score is missing" in shown(blind)
    assert "knows no validation loss yet" in shown(blind, early_stopping=Evidence(EarlyStoppingState(), "log"))


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        (("no rng_state", "shuffled data"), "does not continue bit for bit: no rng_state; shuffled data"),
        ((), "can continue bit for bit: nothing in the file speaks against it"),
    ],
)
def test_whether_the_resume_is_exact_comes_with_the_reasons(why: tuple[str, ...], expected: str) -> None:
    assert expected in shown(ResumePlan(3, 512, 26432, 1.0, 1.0, -1.0, 0, 5, why_not_exact=why))


def test_what_the_facts_leave_open_is_said_to_be_open() -> None:
    vague = ResumePlan(3, None, 26432, None, None, -0.5, None, None)
    printed = shown(vague, facts=TimeLLMFacts())
    assert "how many batches it skips is open: give --steps-per-epoch" in printed
    assert "a first learning rate that the facts do not settle" in printed
    assert "steps left" not in printed


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
