"""What reports say of Time-LLM's checkpoints: EarlyStopping's memory, and where its trainer starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckpt_doctor.trainers.time_llm import terms
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.types import EarlyStoppingState, Evidence, FileReport, ResumePlan
from tests.reports.report_samples import FACTS, NO_BEST_SCORE, file

KNOWN = Evidence(EarlyStoppingState(-0.5, 0.5, 2), "the log")
BEFORE = Evidence(EarlyStoppingState(None, float("inf"), 0), "no validation yet")


def planned(report: FileReport, **changes: object) -> ResumePlan:
    assert report.plan is not None
    return replace(report.plan, **changes)


@pytest.mark.parametrize(
    ("report", "shown"),
    [
        (file("checkpoint", best_score=-0.4123456), "-0.4123456"),
        (file("checkpoint", NO_BEST_SCORE), "missing"),
        (file("checkpoint", early_stopping=BEFORE), "none yet"),
        (file("checkpoint"), "-"),
    ],
)
def test_a_score_is_shown_missing_where_there_should_be_one_and_none_before_any_validation(
    report: FileReport, shown: str
) -> None:
    assert shown == terms.best_score(report)


def test_the_start_counts_epochs_as_the_trainer_and_as_its_log_does() -> None:
    plan = planned(file("checkpoint"), start_epoch=1, skip_batches=8360)
    assert "starts at epoch 1 of 10 (epoch 2 in the log) and skips 8,360 of 8,640 batches" == terms.start(plan, FACTS)
    assert "skips no batches" in terms.start(replace(plan, skip_batches=0), FACTS)
    assert "starts at epoch 1 (epoch 2 in the log)" in terms.start(plan, TimeLLMFacts())


@pytest.mark.parametrize("open_", ["start_epoch", "skip_batches"])
def test_an_open_start_names_the_option_that_settles_it(open_: str) -> None:
    plan = replace(planned(file("checkpoint")), **{open_: None})
    assert "give --steps-per-epoch" in terms.start(plan, TimeLLMFacts())


def test_what_early_stopping_remembers_is_its_loss_and_its_patience() -> None:
    report = file("checkpoint", early_stopping=KNOWN)
    plan = planned(report, best_score=-0.5, counter=2)
    told = terms.early_stopping(report, plan, replace(FACTS, patience=Evidence(10, "log")))
    assert "remembers best validation loss 0.5, 2 of 10 epochs without improvement since" == told
    assert "epochs" not in terms.early_stopping(report, replace(plan, counter=None), FACTS)


def test_a_memory_that_is_missing_too_early_or_not_read_is_told_as_that() -> None:
    report = file("checkpoint", early_stopping=KNOWN)
    assert "best_score is missing" in terms.early_stopping(report, planned(report, best_score=None), FACTS)
    young = file("checkpoint", early_stopping=BEFORE)
    assert "as it should" in terms.early_stopping(young, planned(young, best_score=None), FACTS)
    older = replace(FACTS, generation=Evidence("first-patch", "files"))
    assert "forgets" in terms.early_stopping(report, planned(report, best_score=-0.5), older)


def test_a_repair_shows_the_loss_before_and_after_it() -> None:
    report = file("checkpoint", early_stopping=KNOWN)
    ((name, now, repaired),) = terms.landing(report, planned(report, best_score=None))
    assert ("best validation loss", "none", "0.5") == (name, now, repaired)
    ((_, now, open_),) = terms.landing(file("checkpoint", early_stopping=None), planned(report, best_score=-0.4))
    assert ("0.4", "-") == (now, open_)
