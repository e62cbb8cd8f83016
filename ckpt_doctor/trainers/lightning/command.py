"""Lightning's training command: the facts that no file has, and what is known of them in a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ckpt_doctor.trainers.lightning.loops import Loops, loops_of
from ckpt_doctor.trainers.shared_facts import SHUFFLE, TRAIN_EPOCHS
from ckpt_doctor.types import Evidence, Fact, Facts, Given, Member, Run
from ckpt_doctor.types.record import record

TABLE = (TRAIN_EPOCHS, SHUFFLE)
"""In the order in which reports show them."""


@record(frozen=True)
class LightningFacts(Facts):
    """The facts of one run."""

    table: ClassVar[tuple[Fact, ...]] = TABLE

    batches: Evidence[int] | None = None
    """Batches of an epoch."""
    steps: int | None = None
    """Optimizer steps of an epoch."""


def facts_of(run: Run) -> LightningFacts:
    """The facts of a run of this trainer."""
    assert isinstance(run.facts, LightningFacts), "understand() made them"
    return run.facts


def infer(members: Sequence[Member], given: Given) -> LightningFacts:
    """What a person gives, and the length of an epoch by the loops of the run's files."""
    counted = [(member, loops) for member in members if (loops := loops_of(member.checkpoint)) is not None]
    ends = [(member, loops) for member, loops in counted if loops.is_last and loops.batch > 0]
    lengths = {loops.batch for _, loops in ends}
    batches, steps = None, None
    if len(lengths) == 1:
        member, loops = ends[-1]
        batches = Evidence(loops.batch, f"{member.label}, saved at an epoch's end")
        steps = loops.steps
    elif not ends:
        told = {length: member for member, loops in counted if (length := _length(loops)) is not None}
        if len(told) == 1:
            length, member = next(iter(told.items()))
            batches = Evidence(length, f"the batches that {member.label} counts")
    return LightningFacts(
        train_epochs=given.get("train_epochs"), shuffle=given.get("shuffle"), batches=batches, steps=steps
    )


def _length(loops: Loops) -> int | None:
    """Batches of an epoch, from a file saved within a later one."""
    before = loops.batches - loops.batch
    if not loops.epoch or before <= 0 or before % loops.epoch:
        return None
    length = before // loops.epoch
    return length if length >= loops.batch else None
