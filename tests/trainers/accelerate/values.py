"""Folders of `save_state` as values, without a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ckpt_doctor.trainers.accelerate.layout import member_of
from ckpt_doctor.types import Checkpoint, Member

RUN = Path("/run")


def unit(name: str, *more: str, **parts: Any) -> Checkpoint:
    """A folder of one process with these parts, and more files of which nothing is read."""
    names = ("model.safetensors", "optimizer.bin", "scheduler.bin", "random_states_0.pkl", *more)
    return Checkpoint(RUN / name, 0, "folder", "training", parts, metadata={"files": dict.fromkeys(names)})


def member(name: str, steps: int | None = None, schedule: int | None = None, within: int = 0, *more: str) -> Member:
    """A folder after so many optimizer steps, with its schedule there, and so many batches into an epoch."""
    parts: dict[str, Any] = {"random_states_0.pkl": {"step": within}}
    if steps is not None:
        parts["optimizer.bin"] = {"state": {0: {"step": steps}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    if schedule is not None:
        place = {"last_epoch": schedule, "_step_count": schedule + 1, "_last_lr": [0.1]}
        parts["scheduler.bin"] = {"step_size": 99, "gamma": 0.5, "base_lrs": [0.1], **place}
    return member_of(unit(name, *more, **parts), lambda _part, tensors: [None] * len(tensors))
