"""What a trainer does on a resume, in clauses; what is open is said to be open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckpt_doctor.reports.resuming import clauses, landing, learning_rate
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.types import Finding, ResumePlan
from tests.reports.report_samples import MID, file, report, resumable, shown


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


def test_without_a_plan_or_a_position_nothing_is_said() -> None:
    run = report().runs[0]
    assert [] == clauses(file("a", plan=None), run)
    assert [] == clauses(file("a", epoch=None), run)


def test_a_first_rate_that_nobody_knows_is_open_or_a_new_optimizers() -> None:
    unknown = replace(MID, next_lr=None)
    assert "do not settle" in learning_rate(file("a"), unknown)
    reset = file("a", Finding("O702", "lost-moments", "warning", "m"))
    assert "new optimizer" in learning_rate(reset, unknown)
    assert "is open" in learning_rate(file("a"), replace(MID, next_lr_uninterrupted=None))


def test_a_landing_shows_each_value_from_the_file_as_it_is_and_repaired() -> None:
    judged = resumable(start_epoch=3, skip_batches=0)
    assert judged.plan is not None
    found = {name: (now, repaired) for name, now, repaired in landing(judged, judged.plan, report().runs[0])}
    assert ("3", "1") == found["starts in epoch"]
    assert ("0", "8,360") == found["skips batches"]
    assert ("4e-06", "4e-06") == found["first learning rate"]
