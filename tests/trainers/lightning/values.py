"""Files of Lightning as values, without torch: the loops' counters and what else judging looks at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ckpt_doctor.trainers.lightning.layout import member_of
from ckpt_doctor.types import Checkpoint, Member
from tests.trainers.lightning.runs import loops


def checkpoint(name: str, root: dict[str, Any]) -> Checkpoint:
    """A file with this root."""
    held = {"pytorch-lightning_version": "2.6.6", "state_dict": {}, "optimizer_states": [], **root}
    return Checkpoint(Path("/run") / name, 0, "torch-zip", "training", held)


def member(name: str, root: dict[str, Any]) -> Member:
    """The same as a member of its run."""
    return member_of(checkpoint(name, root), lambda _part, tensors: [None] * len(tensors))


def counted(steps: int, *, epoch: int, batches: int = 10, length: int = 10, name: str = "", **root: Any) -> Member:
    """A file after so many steps, in its epoch (the number of those begun) after so many batches of it."""
    fit = loops(steps, steps, epoch, batches, batches == length)
    return member(name or f"epoch={epoch - 1}-step={steps}.ckpt", {"loops": {"fit_loop": fit}, **root})
