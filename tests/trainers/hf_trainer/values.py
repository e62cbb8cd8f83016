"""Checkpoints of the Trainer as values, without a file: a folder's parts under their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ckpt_doctor.trainers.hf_trainer.command import ARGUMENTS
from ckpt_doctor.trainers.hf_trainer.layout import OPTIMIZER, STATE, member_of
from ckpt_doctor.types import Checkpoint, Global, Member, Opaque

RUN = Path("/home/me/run")


def command(**arguments: Any) -> Opaque:
    """`training_args.bin` with these arguments."""
    made = Opaque(Global("transformers.training_args", "TrainingArguments"), (), via="newobj")
    made.states.append(arguments)
    return made


def unit(name: str = "checkpoint-14", files: tuple[str, ...] = (), **parts: Any) -> Checkpoint:
    """A folder; `state`, `arguments`, `optimizer` and `scheduler` are the contents of those parts."""
    names = {"state": STATE, "arguments": ARGUMENTS, "optimizer": OPTIMIZER, "scheduler": "scheduler.pt"}
    root = {names.get(key, key): value for key, value in parts.items()}
    return Checkpoint(RUN / name, 0, "folder", "training", root, metadata={"files": (*root, *files)})


def member(name: str = "checkpoint-14", files: tuple[str, ...] = (), **parts: Any) -> Member:
    """The same as a member of its run."""
    return member_of(unit(name, files, **parts), lambda _part, tensors: [None] * len(tensors))


def adam(step: int, rate: float = 0.01, first: float | None = None) -> dict[str, Any]:
    """An Adam of one parameter after so many steps."""
    group = {"lr": rate, "initial_lr": rate if first is None else first, "params": [0]}
    return {"state": {0: {"step": step}}, "param_groups": [group]}


def lambda_lr(step: int, rate: float, base: float = 0.01) -> dict[str, Any]:
    """A LambdaLR after so many steps."""
    place = {"last_epoch": step, "_step_count": step + 1, "_last_lr": [rate]}
    return {"base_lrs": [base], "lr_lambdas": [None], **place}
