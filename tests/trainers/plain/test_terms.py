"""What reports say of where a loop starts: in the script's own numbers, with what shows it."""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor.trainers.plain.command import PlainFacts
from ckpt_doctor.trainers.plain.terms import TERMS
from ckpt_doctor.types import Evidence, ResumePlan
from tests.reports.report_samples import file

PLAN: ResumePlan = file("checkpoint.pt").plan  # type: ignore[assignment]


def test_an_open_start_says_who_can_tell() -> None:
    assert "only the script shows which (P412)" in TERMS.start(replace(PLAN, start_epoch=None), PlainFacts())


def test_a_known_start_says_what_showed_it() -> None:
    told = PlainFacts(resume_epoch=Evidence("label+1", "train.py:7"))
    assert "starts at epoch 1,000 (train.py:7)" == TERMS.start(replace(PLAN, start_epoch=1000), told)
    assert "starts at epoch 1,000" == TERMS.start(replace(PLAN, start_epoch=1000), PlainFacts())
