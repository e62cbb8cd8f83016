"""What a run remembers of its best model: as the state has it, and as a replay of `log_history` has it.

Source: transformers 5.24, `trainer.py` (`_determine_best_metric`), `trainer_callback.py` (`EarlyStoppingCallback`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_doctor.trainers.hf_trainer.command import Command, command_in
from ckpt_doctor.trainers.hf_trainer.layout import STATE
from ckpt_doctor.trainers.state import integer
from ckpt_doctor.types import Checkpoint, KeyPath, Member, real
from ckpt_doctor.types.record import record

CALLBACK = "EarlyStoppingCallback"
CALLBACKS: KeyPath = (STATE, "stateful_callbacks")


@record(frozen=True)
class Waiting:
    """One EarlyStopping callback."""

    waited: int
    """Evaluations without improvement."""
    patience: int
    threshold: float


@record(frozen=True)
class Best:
    """The best evaluation so far."""

    metric: float | None
    step: int | None
    waited: int
    """What an EarlyStopping callback has counted by then."""


def early_stopping(member: Member) -> list[Waiting]:
    """The EarlyStopping callbacks whose state is saved."""
    saved = member.checkpoint.get(*CALLBACKS, CALLBACK)
    return [one for state in (saved if isinstance(saved, list) else [saved]) if (one := _waiting(state)) is not None]


def _waiting(state: object) -> Waiting | None:
    if not isinstance(state, dict):
        return None
    args, attributes = state.get("args"), state.get("attributes")
    if not isinstance(args, dict) or not isinstance(attributes, dict):
        return None
    waited, patience = integer(attributes.get("early_stopping_patience_counter")), args.get("early_stopping_patience")
    if waited is None or integer(patience) is None:
        return None
    return Waiting(waited, integer(patience) or 0, real(args.get("early_stopping_threshold")) or 0.0)


def history(checkpoint: Checkpoint) -> list[Mapping[str, object]]:
    """The entries of `log_history`."""
    found = checkpoint.get(STATE, "log_history")
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def step_of(entry: Mapping[str, object]) -> int:
    """The step of an entry; below 0 where it has none."""
    step = integer(entry.get("step"))
    return -1 if step is None else step


def is_evaluation(entry: Mapping[str, object]) -> bool:
    """Whether an entry has the results of an evaluation."""
    return any(str(key).startswith("eval_") for key in entry)


def evaluations(entries: list[Mapping[str, object]], metric: str) -> Iterator[tuple[int, float]]:
    """Step and value of each evaluation by which the best is chosen; not the one on start, which does not count."""
    for entry in entries:
        if metric not in entry:  # as most
            continue
        value = real(entry[metric])
        if value is not None and step_of(entry) > 0:
            yield step_of(entry), value


def replay(entries: list[Mapping[str, object]], command: Command, threshold: float = 0.0) -> Best | None:
    """What the Trainer remembers after these entries; None where no best is kept, or it is not known by what.

    The callback compares with the best before this evaluation (`on_evaluate` comes before `_determine_best_metric`).
    """
    greater = command.is_greater_better
    if not command.metric or greater is None:
        return None
    best, step, waited = None, None, 0
    for at, value in evaluations(entries, command.metric):
        improved = best is None or (value > best if greater else value < best)
        enough = best is None or (improved and abs(value - best) > threshold)
        waited = 0 if enough else waited + 1
        if improved and not math.isnan(value):
            best, step = value, at
    return Best(best, step, waited)


def replayed(member: Member) -> Best | None:
    """The replay of a checkpoint's own history."""
    waiting = early_stopping(member)
    threshold = waiting[0].threshold if waiting else 0.0
    return replay(history(member.checkpoint), command_in(member.checkpoint), threshold)


def counts_every_evaluation(checkpoint: Checkpoint) -> bool:
    """Whether the Trainer compared at every evaluation; older ones, without this key, only at those with a save."""
    state = checkpoint.get(STATE)
    return isinstance(state, dict) and "best_global_step" in state


def counted(state: Mapping[str, Any], waited: int) -> dict[str, Any]:
    """The state of a callback that has waited for so many evaluations."""
    return {**state, "attributes": {**state["attributes"], "early_stopping_patience_counter": waited}}
