"""Checkpoints of a run as values, without a file: a root of plain Python values and the state that it holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ckpt_doctor.trainers import schedules
from ckpt_doctor.trainers.state import training_state
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.trainers.time_llm.layout import PLACES
from ckpt_doctor.types import Checkpoint, Evidence, Member, MigrationRecord, Run, TrainingState

RUN = Path("checkpoints/run")


def best(step: int, epoch: int, **more: Any) -> Member:
    """The file that EarlyStopping saves."""
    return _member(RUN / "checkpoint", "best", step, epoch, more)


def step_file(step: int, epoch: int, **more: Any) -> Member:
    """A file of `--save_steps`."""
    return _member(RUN / f"checkpoint_step_{step}" / "checkpoint.pt", "step", step, epoch, more)


def _member(path: Path, role: Any, step: int, epoch: int, more: dict[str, Any]) -> Member:
    root: dict[str, Any] = {"model": {}, "optimizer": {}, "scheduler": {}, "epoch": epoch, "global_step": step}
    migrations: tuple[MigrationRecord, ...] = more.pop("migrations", ())
    root |= more.pop("root", {})
    state = TrainingState(**{"epoch": epoch, "global_step": step, "optimizer_step": step, **more})
    for key in ("best_score", "val_loss_min", "counter"):
        if key in more:
            root[key] = more[key]
    checkpoint = Checkpoint(path, 0, "torch-zip", "training", root, migrations=migrations)
    return Member(checkpoint, state, role, step if role == "step" else None, places=PLACES, own_label=path.parts[2])


def run_of(*members: Member, **facts: Any) -> Run:
    """A run with these facts of its command; a value that is not an Evidence yet is given."""
    known = {name: _evidence(name, value) for name, value in facts.items()}
    return Run(RUN, "time-llm", members, TimeLLMFacts(**known))


def _evidence(name: str, value: Any) -> Any:
    plain = name in ("least_steps", "world_size_open", "other_lengths", "candidates", "disproved") or value is None
    return value if plain or isinstance(value, Evidence) else Evidence(value, "given", given=True)


STEPS, EPOCHS, MAX_LR = 10, 5, 0.01
"""Of the schedules below: epochs of 10 steps, 5 of them."""


def scheduled(member: Member, mode: str, at: int, rate: float | None = None) -> Member:
    """The member with the mode's schedule after `at` of its steps, and the rate of that place, or another one."""
    group: dict[str, Any] = {"betas": (0.9, 0.999), "initial_lr": MAX_LR}
    if mode == "COS":
        scheduler = schedules.cosine_annealing_state([MAX_LR], 20, 1e-8, at)
        group["lr"] = scheduler["_last_lr"][0]
    else:
        group |= schedules.one_cycle_group(MAX_LR)
        scheduler = schedules.one_cycle_state(group, STEPS * EPOCHS, at)
        point = schedules.one_cycle(scheduler, group, at)
        group |= {"lr": point.lr, "betas": (point.momentum, 0.999)}
    if rate is not None:
        group["lr"] = rate
    root = {**member.checkpoint.root, "optimizer": {"state": {}, "param_groups": [group]}, "scheduler": scheduler}
    checkpoint = replace(member.checkpoint, root=root)
    state = training_state(checkpoint, PLACES, lambda _part, tensors: [None] * len(tensors))
    return replace(member, checkpoint=checkpoint, state=replace(state, optimizer_step=member.state.optimizer_step))
