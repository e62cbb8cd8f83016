"""Checkpoints of a run as values, without a file: a root of plain Python values and the state that it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.trainers.time_llm.layout import PLACES
from ckpt_doctor.types import Checkpoint, Evidence, Member, Migration, Run, TrainingState

RUN = Path("checkpoints/run")


def best(step: int, epoch: int, **more: Any) -> Member:
    """The file that EarlyStopping saves."""
    return _member(RUN / "checkpoint", "best", step, epoch, more)


def step_file(step: int, epoch: int, **more: Any) -> Member:
    """A file of `--save_steps`."""
    return _member(RUN / f"checkpoint_step_{step}" / "checkpoint.pt", "step", step, epoch, more)


def _member(path: Path, role: Any, step: int, epoch: int, more: dict[str, Any]) -> Member:
    root: dict[str, Any] = {"model": {}, "optimizer": {}, "scheduler": {}, "epoch": epoch, "global_step": step}
    migrations: tuple[Migration, ...] = more.pop("migrations", ())
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
    plain = name in ("least_steps", "world_size_open", "other_lengths", "candidates")
    return value if plain or isinstance(value, Evidence) else Evidence(value, "given", given=True)
