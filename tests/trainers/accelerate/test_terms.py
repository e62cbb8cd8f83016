"""What reports say of where a script goes on from a folder."""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor.trainers.accelerate import terms
from ckpt_doctor.trainers.accelerate.command import AccelerateFacts
from ckpt_doctor.types import Evidence
from tests.reports.report_samples import file


def test_the_start_is_an_epoch_and_the_batches_that_are_skipped() -> None:
    plan = file("step_6").plan
    assert plan is not None
    facts = AccelerateFacts(steps_per_epoch=Evidence(8640, "folders"))
    assert "continues in epoch 1 and skips 8,360 of 8,640 batches" == terms.start(plan, facts)
    assert "skips 8,360 batches" in terms.start(plan, AccelerateFacts())
    assert "skips no batches" in terms.start(replace(plan, skip_batches=0), facts)


def test_what_is_open_is_said_with_the_option_that_settles_it() -> None:
    plan = file("step_6").plan
    assert plan is not None
    assert "--steps-per-epoch" in terms.start(replace(plan, skip_batches=None), AccelerateFacts())
    assert "the folder's name" in terms.start(replace(plan, start_epoch=None), AccelerateFacts())
