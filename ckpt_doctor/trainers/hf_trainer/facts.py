"""The facts of a run: those of the saved command, unless a person gives others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckpt_doctor.trainers.hf_trainer.command import ARGUMENTS, TABLE, HFFacts, command_in
from ckpt_doctor.trainers.hf_trainer.known import known
from ckpt_doctor.trainers.hf_trainer.layout import STATE
from ckpt_doctor.trainers.hf_trainer.progress import epochs_told, steps_per_epoch, total_steps
from ckpt_doctor.types import Evidence, Given, Member, Run


def understand(run: Run, given: Given, _logs: Sequence[Path]) -> Run:
    """The run with its facts: the newest checkpoint's command, and the steps of an epoch by all of them."""
    newest = max(run.members, key=_progress, default=None)
    values: dict[str, Any] = {**(_saved(newest) if newest else {}), **given}
    length = steps_per_epoch(m.checkpoint for m in run.members)
    return replace(
        run,
        facts=HFFacts(**values, steps_per_epoch=length),
        history=known(run.members, length.value if length else None),
    )


def _progress(member: Member) -> tuple[bool, int]:
    """One whose state can be read, and how far training had come."""
    return member.state.global_step is not None, member.state.global_step or member.named_step or 0


def _saved(member: Member) -> dict[str, Evidence[Any]]:
    command = command_in(member.checkpoint)
    found: dict[str, Any] = {fact.name: command.number(fact.name) for fact in TABLE}
    found["num_train_epochs"], found["max_steps"] = epochs_told(command), total_steps(member.checkpoint)
    sources = {name: f"{member.label}/{STATE if name == 'max_steps' else ARGUMENTS}" for name in found}
    return {name: Evidence(value, sources[name]) for name, value in found.items() if value is not None}
