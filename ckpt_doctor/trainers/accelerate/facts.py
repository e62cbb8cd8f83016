"""What the folders of a run show of the facts of its script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckpt_doctor.inert.lines import ENOUGH
from ckpt_doctor.trainers.accelerate.command import AccelerateFacts
from ckpt_doctor.trainers.accelerate.habits import learned
from ckpt_doctor.trainers.accelerate.layout import name_of, ranks, within_epoch
from ckpt_doctor.types import Evidence, Given, Member, Run

MOST_ACCUMULATED = 1_024
"""Batches of an accumulation that are tried."""


def understand(run: Run, given: Given, _logs: Sequence[Path]) -> Run:
    """The facts given, and what the folders show of the others."""
    ahead = _ahead(run.members)
    updates = _updates(run.members, ahead)
    values: dict[str, Any] = {**given, "world_size": _processes(run.members), "updates": updates, "ahead": ahead}
    facts = AccelerateFacts(**values)
    if facts.steps_per_epoch is None and updates is not None and _each_batch_counts(run.members, updates):
        facts = replace(facts, steps_per_epoch=updates)
    elif facts.steps_per_epoch is not None and updates is None:
        facts = replace(facts, updates=_accumulated(run.members, facts.steps_per_epoch))
    if facts.updates is not None:
        facts = replace(facts, accumulation=_accumulation(run.members, facts.updates.value))
    return replace(run, facts=facts, history=learned(run.members, facts.processes, facts.updates, ahead))


def _ahead(members: Sequence[Member]) -> int:
    """0 where the optimizer's steps in most of three or more folders show that `epoch_N` has N finished epochs."""
    names = [(name_of(member.checkpoint.path), member.state.optimizer_step) for member in members]
    told = [(name[1], steps) for name, steps in names if name is not None and name[0] == "epoch" and steps]
    alike = {ahead: _alike(steps / (epoch + ahead) for epoch, steps in told if epoch + ahead) for ahead in (0, 1)}
    return 0 if len(told) >= ENOUGH and 2 * alike[0] > len(told) and alike[0] > alike[1] else 1


def _alike(lengths: Iterable[float]) -> int:
    """How many are as most are."""
    return max(Counter(lengths).values(), default=0)


def _accumulated(members: Sequence[Member], batches: Evidence[int]) -> Evidence[int] | None:
    """Optimizer steps in an epoch of so many batches, from folders that were saved inside one.

    They show how many batches had been trained, which one length of the accumulation alone explains."""
    inside = [(done, member) for member in members if (done := within_epoch(member)) is not None]
    lengths = range(1, min(batches.value, MOST_ACCUMULATED) + 1)
    fitting = {
        -(-batches.value // each)
        for each in lengths
        if all(_explains(each, batches.value, done, member) for done, member in inside)
    }
    if not inside or len(fitting) != 1:
        return None
    done, member = inside[0]
    return Evidence(fitting.pop(), f"{member.label}: {done:,} batches into an epoch of {batches.value:,}")


def _accumulation(members: Sequence[Member], updates: int) -> range:
    """The lengths with which all folders can be as they are; where none lacks a gradient with one of them, that one."""
    counted = ((within_epoch(member), member.state.optimizer_step) for member in members)
    inside = [(done, steps % updates) for done, steps in counted if done is not None and steps is not None]
    low = max((done // (made + 1) + 1 for done, made in inside), default=1)
    high = min((done // made for done, made in inside if made), default=MOST_ACCUMULATED)
    whole = (each for each in range(low, high + 1) if all(done == made * each for done, made in inside))
    first = next(whole, None)
    return range(low, high + 1) if first is None else range(first, first + 1)


def _explains(each: int, batches: int, done: int, member: Member) -> bool:
    """Whether a folder can be as it is where so many batches make an optimizer step."""
    steps, named = member.state.optimizer_step, name_of(member.checkpoint.path)
    if steps is None:
        return True
    epochs, updates = divmod(steps, -(-batches // each))
    if named is not None and named[0] == "step" and named[1] not in (steps, epochs * batches + done):
        return False
    whole = named is None or named[0] != "optimizer-step" or done % each == 0  # saved with an optimizer step
    return whole and updates == done // each


def _processes(members: Sequence[Member]) -> Evidence[int] | None:
    """Each process writes its own random states, numbered from 0."""
    most = max((rank + 1 for member in members for rank in ranks(member.checkpoint)), default=0)
    return Evidence(most, f"{most} files of random states") if most else None


def _updates(members: Sequence[Member], ahead: int) -> Evidence[int] | None:
    """Optimizer steps per epoch, as most of the folders that are named by their epochs have them."""
    told: list[tuple[int, str]] = []
    for member in members:
        named, steps = name_of(member.checkpoint.path), member.state.optimizer_step
        if named is not None and named[0] == "epoch" and steps and named[1] + ahead > 0:
            length, rest = divmod(steps, named[1] + ahead)
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
