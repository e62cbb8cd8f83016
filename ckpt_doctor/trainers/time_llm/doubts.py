"""Facts given by hand against the run's own files and log: what cannot be true together, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ckpt_doctor.trainers.state import param_groups
from ckpt_doctor.trainers.time_llm import rates
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts, real_steps
from ckpt_doctor.trainers.time_llm.log_facts import LogFacts
from ckpt_doctor.trainers.time_llm.modes import PER_STEP
from ckpt_doctor.trainers.time_llm.processes import (
    LIKELY,
    Known,
    counted_step,
    first_length,
    fits,
    infer_world_size,
    possible_lengths,
)
from ckpt_doctor.types import Evidence, Member, real, same_rate


def disagreements(
    trained: Sequence[Member],
    given: TimeLLMFacts,
    log: LogFacts | None,
    known: Known,
    mode: str,
    generation: str,
    steps: Evidence[int] | None,
) -> dict[str, list[str]]:
    """For each given fact, what contradicts it (the mode and the log's count of steps: see `facts`)."""
    return {
        "steps_per_epoch": _steps_per_epoch(trained, given, known, mode, generation),
        "world_size": _world_size(trained, given, known, mode, generation),
        "train_epochs": _train_epochs(trained, given, known, mode, steps),
        "learning_rate": _learning_rate(trained, given),
        "pct_start": _pct_start(trained, given, log),
        "patience": _patience(given, log),
    }


def length_doubts(steps: Evidence[int], trained: Sequence[Member], world: int) -> list[str]:
    """What the schedule's length says against a number of steps per epoch."""
    total = first_length(trained)
    said = f"{steps.source} says {steps.value:,} steps per epoch, "
    if total and total % steps.value and not any(fits(m, steps.value, world) for m in trained):
        return [f"{said}which fits no checkpoint of the run"]
    return [f"{said}and the schedule has {total:,}, which is not a multiple"] if total and total % steps.value else []


def _steps_per_epoch(
    trained: Sequence[Member], given: TimeLLMFacts, known: Known, mode: str, generation: str
) -> list[str]:
    """A length that most files contradict, where another explains them all.

    `epoch` can be wrong by one (P402), also in many files of a run that has repeated an epoch.
    """
    steps = given.steps_per_epoch
    if steps is None:
        return []
    worlds = (given.world_size.value,) if given.world_size else LIKELY
    placed = [m for m in trained if (m.state.epoch or -1) >= 0 and counted_step(m) > 0]
    wrong = [m for m in placed if not any(_near(m, steps.value, world) for world in worlds)]
    if 2 * len(wrong) <= len(placed):
        return []
    if not any(possible_lengths(trained, mode, generation, replace(known, steps_per_epoch=None), worlds)):
        return []
    told = f"{wrong[0].label} is in epoch {wrong[0].state.epoch} after {counted_step(wrong[0]):,} steps"
    return [f"{steps.source} says {steps.value:,} steps per epoch, and {told}"]


def _near(member: Member, steps_per_epoch: int, world: int) -> bool:
    return abs(counted_step(member) // real_steps(steps_per_epoch, world) - (member.state.epoch or 0)) <= 1


def _world_size(trained: Sequence[Member], given: TimeLLMFacts, known: Known, mode: str, generation: str) -> list[str]:
    """In TST and COS the schedule counts the processes; in every mode an epoch's length does."""
    fact = given.world_size
    if fact is None:
        return []
    said = f"{fact.source} says {fact.value} process{'' if fact.value == 1 else 'es'}, the files "
    if mode == PER_STEP:
        told = infer_world_size(trained, mode, None, generation)
        if told is not None and told.value != fact.value:
            return [f"{said}{told.value} ({told.source})"]
    if any(possible_lengths(trained, mode, generation, known, (fact.value,))):
        return []
    others = next(possible_lengths(trained, mode, generation, known, LIKELY), None)
    return [] if others is None else [f"{said}fit {others[1]} (with {others[0]:,} steps per epoch)"]


def _train_epochs(
    trained: Sequence[Member], given: TimeLLMFacts, known: Known, mode: str, steps: Evidence[int] | None
) -> list[str]:
    """An epoch beyond the last one. That a run is resumed for more epochs than it was started with is R505's."""
    fact, total = given.train_epochs, known.total_steps
    if fact is None:
        return []
    furthest = max((m.state.epoch or 0 for m in trained), default=0)
    said = f"{fact.source} says {fact.value} epochs, "
    if furthest > fact.value or known.epochs_begun > fact.value:
        where = "the log" if known.epochs_begun > furthest else "a checkpoint"
        return [f"{said}and {where} is in epoch {max(furthest, known.epochs_begun - 1)}, counted from 0"]
    if mode == PER_STEP and total and total % fact.value and steps is None:
        return [f"{said}and the schedule has {total:,} steps, which is not a multiple"]
    return []


def changed_epochs(given: TimeLLMFacts, total: int | None, mode: str, steps: Evidence[int] | None) -> list[str]:
    """A number of epochs that is not the schedule's, where that does not move (where it does: R505).

    No value that a repair writes rests on it. Which rates are still to come does.
    """
    fact = given.train_epochs
    if fact is None or not total or mode == PER_STEP:
        return []
    if total == fact.value * steps.value if steps else total % fact.value == 0:
        return []
    made_for = f"{total // steps.value}" if steps else f"{total:,} steps, which is not a multiple"
    return [
        f"{fact.source} says {fact.value} epochs, and the schedule was made for {made_for}: the option is wrong, or "
        "the resumed run is another than the one that was begun"
    ]


def _learning_rate(trained: Sequence[Member], given: TimeLLMFacts) -> list[str]:
    """A rate that is neither the run's `--learning_rate` nor the base that its resume needs."""
    fact = given.learning_rate
    known = [rate for member in trained for rate in _rates_of(member)]
    if fact is None or not known or any(same_rate(fact.value, rate) for rate in known):
        return []
    return [f"{fact.source} says learning rate {fact.value:g}, the checkpoints {known[0]:g}"]


def _rates_of(member: Member) -> list[float]:
    stored = [real(group.get(key)) for group in param_groups(member) for key in ("max_lr", "initial_lr")]
    return [rate for rate in (*stored, *rates.initial_rates(member)) if rate is not None]


def _pct_start(trained: Sequence[Member], given: TimeLLMFacts, log: LogFacts | None) -> list[str]:
    """OneCycleLR's first phase ends at `pct_start * total_steps - 1` (torch/optim/lr_scheduler.py)."""
    fact = given.pct_start
    if fact is None:
        return []
    found = [share for m in trained if (share := _rising(m)) is not None]
    found += [log.arguments.pct_start.value] if log is not None and log.arguments.pct_start else []
    if not found or any(abs(share - fact.value) < 1e-9 for share in found):
        return []
    return [f"{fact.source} says pct_start {fact.value:g}, the run has {found[0]:.6g}"]


def _rising(member: Member) -> float | None:
    """The share of OneCycleLR's steps in which the rate rises."""
    phases, total = member.checkpoint.get("scheduler", "_schedule_phases"), member.state.total_steps
    if not isinstance(phases, list) or len(phases) < 2 or not isinstance(phases[0], dict) or not total:
        return None
    end = real(phases[0].get("end_step"))
    return None if end is None else (end + 1) / total


def _patience(given: TimeLLMFacts, log: LogFacts | None) -> list[str]:
    fact, told = given.patience, log.patience if log is not None else None
    if fact is None or told is None or fact.value == told.value:
        return []
    return [f"{fact.source} says patience {fact.value:,}, the log {told.value:,} ({told.source})"]
