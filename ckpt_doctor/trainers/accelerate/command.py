"""The training command of a script that uses Accelerate: its facts."""

from __future__ import annotations

from typing import ClassVar

from ckpt_doctor.trainers.shared_facts import SHUFFLE, STEPS_PER_EPOCH
from ckpt_doctor.types import Evidence, Fact, Facts, Flag, Run
from ckpt_doctor.types.record import record

SEEDABLE = Fact(
    "seedable_sampler",
    Flag(),
    "Whether DataLoaderConfiguration(use_seedable_sampler=True) is in the script.",
    lambda seedable: "seedable sampler" if seedable else "default sampler",
)
TABLE = (STEPS_PER_EPOCH, SHUFFLE, SEEDABLE)
"""In the order in which reports show them. `steps_per_epoch` is `len(train_loader)` after `accelerator.prepare`."""


@record(frozen=True)
class AccelerateFacts(Facts):
    """The facts of one run."""

    table: ClassVar[tuple[Fact, ...]] = TABLE
    seedable_sampler: Evidence[bool] | None = None
    updates: Evidence[int] | None = None
    """Optimizer steps in an epoch; fewer than batches where gradients are accumulated."""
    accumulation: range = range(0)
    """Batches of which each number may make an optimizer step, by the folders that were saved inside an epoch."""
    ahead: int = 1
    """Finished epochs less the number in `epoch_N`: 1 where a script counts from 0, 0 where it counts from 1."""


def facts_of(run: Run) -> AccelerateFacts:
    """The facts of a run of this trainer."""
    assert isinstance(run.facts, AccelerateFacts), "understand() made them"
    return run.facts
