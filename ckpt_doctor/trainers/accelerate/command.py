"""The facts of a training script that uses Accelerate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ckpt_doctor.trainers.accelerate.habits import learned
from ckpt_doctor.trainers.accelerate.layout import name_of, ranks, within_epoch
from ckpt_doctor.trainers.shared_facts import SHUFFLE, STEPS_PER_EPOCH
from ckpt_doctor.types import Evidence, Fact, Facts, Flag, Given, Member, Run

SEEDABLE = Fact(
    "seedable_sampler",
    Flag(),
    "Whether DataLoaderConfiguration(use_seedable_sampler=True) is in the script.",
    lambda seedable: "seedable sampler" if seedable else "default sampler",
)
TABLE = (STEPS_PER_EPOCH, SHUFFLE, SEEDABLE)
"""In the order in which reports show them. `steps_per_epoch` is `len(train_loader)` after `accelerator.prepare`."""


@dataclass(frozen=True)
class AccelerateFacts(Facts):
    """The facts of one run."""

    table: ClassVar[tuple[Fact, ...]] = TABLE
    seedable_sampler: Evidence[bool] | None = None
    updates: Evidence[int] | None = None
    """Optimizer steps in an epoch; fewer than batches where gradients are accumulated."""


def facts_of(run: Run) -> AccelerateFacts:
    """The facts of a run of this trainer."""
    assert isinstance(run.facts, AccelerateFacts), "understand() made them"
    return run.facts


def understand(run: Run, given: Given, _logs: Sequence[Path]) -> Run:
    """The facts given, and what the folders show of the others."""
    values: dict[str, Any] = {**given, "world_size": _processes(run.members), "updates": _updates(run.members)}
    facts = AccelerateFacts(**values)
    if facts.steps_per_epoch is None and facts.updates is not None and _each_batch_counts(run.members, facts.updates):
        facts = replace(facts, steps_per_epoch=facts.updates)
    return replace(run, facts=facts, history=learned(run.members, facts.processes))


def _processes(members: Sequence[Member]) -> Evidence[int] | None:
    """Each process writes its own random states, numbered from 0."""
    most = max((rank + 1 for member in members for rank in ranks(member.checkpoint)), default=0)
    return Evidence(most, f"{most} files of random states") if most else None


def _updates(members: Sequence[Member]) -> Evidence[int] | None:
    """Optimizer steps per epoch, as most of the folders that are named by their epochs have them."""
    told: list[tuple[int, str]] = []
    for member in members:
        named, steps = name_of(member.checkpoint.path), member.state.optimizer_step
        if named is not None and named[0] == "epoch" and steps:
            length, rest = divmod(steps, named[1] + 1)
            told.append((0 if rest else length, f"{member.label}: {steps:,} optimizer steps at its end"))
    lengths = Counter(length for length, _ in told)
    usual, count = lengths.most_common(1)[0] if lengths else (0, 0)
    if not usual or 2 * count <= len(told):
        return None
    return Evidence(usual, next(source for length, source in told if length == usual))


def _each_batch_counts(members: Sequence[Member], updates: Evidence[int]) -> bool:
    """Whether a folder that was saved inside an epoch shows that each batch makes an optimizer step."""
    for member in members:
        named, steps, done = name_of(member.checkpoint.path), member.state.optimizer_step, within_epoch(member)
        if steps is None or steps % updates.value == 0:
            continue
        if done == steps % updates.value or (done is None and named == ("step", steps)):
            return True
    return False
