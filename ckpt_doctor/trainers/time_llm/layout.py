"""What Time-LLM's trainer writes where: keys, folders, roles, and the training state inside a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ckpt_doctor.types import WRAPPERS, Checkpoint, Member, Role, TensorRef, TrainingState, real

REQUIRED = ("model", "optimizer", "scheduler", "epoch", "global_step")
"""Keys that the resuming trainer reads without a default."""
EARLY_STOPPING = ("best_score", "val_loss_min", "counter")
COMPLETE_ONLY = (*EARLY_STOPPING, "rng_state", "rng_state_at", "sampler_state", "scaler")
"""Keys of the complete trainer; each is read with a default."""

BEST_NAME = "checkpoint"
"""EarlyStopping's file: `os.path.join(path, 'checkpoint')`, no suffix."""
STEP_FOLDER = re.compile(r"checkpoint_step_(\d+)\Z")
_OF_A_STEP = re.compile(r"(\w+ \w+ )?checkpoint_step_\d+")
"""Also what a file manager or Drive makes of a second one: `checkpoint_step_24 (1)`, `Copy of checkpoint_step_24`."""
STEP_NAMES = ("checkpoint.pt", "checkpoint")
"""What `--resume_from_checkpoint FOLDER` looks for, in this order."""
MODEL_PARTS = ("llm_model.", "reprogramming_layer.", "patch_embedding.", "output_projection.", "mapping_layer.")
"""Submodules of TimeLLM; a model with several of them is one."""


def role_of(path: Path) -> Role | None:
    """Which save mechanism wrote it, by its place: `<run>/checkpoint` or `<run>/checkpoint_step_N/checkpoint.pt`."""
    if named_step(path) is not None and path.name in STEP_NAMES:
        return "step"
    return "best" if path.name == BEST_NAME else None


def named_step(path: Path) -> int | None:
    """N of the folder `checkpoint_step_N` around the file."""
    match = STEP_FOLDER.match(path.parent.name)
    return int(match[1]) if match and len(match[1]) < 19 else None


def run_folder(path: Path) -> Path:
    """The folder of the run that a checkpoint belongs to: the file's own, or the one above its step folder."""
    return path.parent.parent if _OF_A_STEP.match(path.parent.name) else path.parent


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the file is of this trainer's format, so that the trainer's rules may speak about it.

    Many projects save a dict with `model` and `epoch`. Taken for ours: the five keys of the trainer (or most of them
    and nothing foreign), with a schedule that this trainer builds; or any file with TimeLLM's submodules in its model;
    or a bare state_dict where EarlyStopping puts its file.
    """
    if checkpoint.layout == "state-dict":
        in_place = role_of(checkpoint.path) is not None and checkpoint.container in ("torch-zip", "torch-legacy")
        return in_place or _is_time_llm(checkpoint.root)
    root = checkpoint.root
    if not isinstance(root, dict) or not isinstance(root.get("model"), dict):
        return False
    if _is_time_llm(root["model"]):
        return True
    required = [key for key in REQUIRED if key in root]
    foreign = [key for key in root if key not in REQUIRED and key not in COMPLETE_ONLY]
    if len(required) < len(REQUIRED) and (len(required) < 3 or foreign):
        return False
    scheduler = root.get("scheduler")
    return not isinstance(scheduler, dict) or not scheduler or scheduler_kind(scheduler) != "other"


def _is_time_llm(model: object) -> bool:
    if not isinstance(model, dict):
        return False
    keys = [unwrapped(key) for key in model if isinstance(key, str)]
    return sum(any(key.startswith(part) for key in keys) for part in MODEL_PARTS) >= 3


def unwrapped(key: str) -> str:
    """A model key without the prefixes of wrapping modules."""
    while key.startswith(WRAPPERS):
        key = key.partition(".")[2]
    return key


def scheduler_kind(scheduler: dict[Any, Any]) -> str:
    """Which of the two schedulers that the trainer builds a scheduler state is of: by the keys only that class has."""
    if "T_max" in scheduler and "eta_min" in scheduler:
        return "CosineAnnealingLR"
    if "total_steps" in scheduler and ("_schedule_phases" in scheduler or "cycle_momentum" in scheduler):
        return "OneCycleLR"
    return "other"


ReadScalars = Callable[[Checkpoint, list[TensorRef]], list[float | None]]
"""Gives the values of one-element tensors of a checkpoint; None for what it cannot read."""


def training_state(checkpoint: Checkpoint, read_scalars: ReadScalars) -> TrainingState:
    """The training state of a dict-format checkpoint.

    Tensors of one element beside the model get their value, so that rules, which open no files, can judge it. Values
    that the trainer cannot work with are left out here (rules L303 and O707 speak of them).
    """
    if not isinstance(checkpoint.root, dict) or checkpoint.layout == "state-dict":
        return TrainingState()
    scalars = [] if checkpoint.is_damaged("byte-order-suspect") else list(_scalars(checkpoint.root))
    for tensor, value in zip(scalars, read_scalars(checkpoint, scalars), strict=True):
        tensor.value = value
    scheduler = checkpoint.get("scheduler")
    return TrainingState(
        epoch=_integer(checkpoint.get("epoch")),
        global_step=_integer(checkpoint.get("global_step")),
        scheduler=scheduler_kind(scheduler) if isinstance(scheduler, dict) and scheduler else None,  # type: ignore[arg-type]
        last_epoch=_integer(checkpoint.get("scheduler", "last_epoch")),
        step_count=_integer(checkpoint.get("scheduler", "_step_count")),
        total_steps=_integer(checkpoint.get("scheduler", "total_steps")),
        optimizer_step=_optimizer_step(checkpoint),
        lr=real(checkpoint.get("optimizer", "param_groups", 0, "lr")),
        beta1=real(checkpoint.get("optimizer", "param_groups", 0, "betas", 0)),
        best_score=real(checkpoint.get("best_score")),
        val_loss_min=real(checkpoint.get("val_loss_min")),
        counter=_integer(checkpoint.get("counter")),
    )


def _scalars(root: dict[Any, Any]) -> Iterator[TensorRef]:
    """Every tensor of one element in a training checkpoint, those of the model left out."""
    rest: list[object] = [value for key, value in root.items() if key != "model"]
    seen: set[int] = set()
    while rest:
        value = rest.pop()
        if isinstance(value, TensorRef) and value.numel == 1:
            yield value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            rest.extend(value.values() if isinstance(value, dict) else value)


def _integer(value: object) -> int | None:
    """A whole number: an int, or a float that stands for one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 1 << 62 else None
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53 else None


def param_groups(checkpoint: Checkpoint) -> list[dict[Any, Any]]:
    """The optimizer's param groups that are dicts."""
    groups = checkpoint.get("optimizer", "param_groups")
    return [group for group in groups if isinstance(group, dict)] if isinstance(groups, (list, tuple)) else []


def _optimizer_step(checkpoint: Checkpoint) -> int | None:
    """Adam's `step`, where all parameters that have one agree. A 0-d float32 tensor since torch 1.12, an int before."""
    state = checkpoint.get("optimizer", "state")
    if not isinstance(state, dict):
        return None
    steps = {real(entry["step"]) for entry in state.values() if isinstance(entry, dict) and "step" in entry}
    return _integer(steps.pop()) if len(steps) == 1 else None


def member_of(checkpoint: Checkpoint, read_scalars: ReadScalars) -> Member:
    """A checkpoint with its state, its role and the step that its folder names."""
    path = checkpoint.path
    return Member(checkpoint, training_state(checkpoint, read_scalars), role_of(path), named_step(path))


def find_runs(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """Checkpoint files grouped by run folder, both in path order."""
    runs: dict[Path, list[Path]] = {}
    for path in sorted(paths, key=_natural):
        runs.setdefault(run_folder(path), []).append(path)
    return dict(sorted(runs.items(), key=lambda item: _natural(item[0])))


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key in which `checkpoint_step_900` comes before `checkpoint_step_1000`."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part)) if part.isdigit() and part.isascii() else (1, part) for part in parts]


def label(member: Member) -> str:
    """A checkpoint's name in the run: `checkpoint`, `checkpoint_step_1000`."""
    path = member.checkpoint.path
    return path.parent.name if member.role == "step" else path.name


def uses_amp(member: Member) -> bool:
    """Whether the run has an enabled gradient scaler, which skips optimizer steps that Adam then does not count."""
    scaler = member.checkpoint.get("scaler")
    return isinstance(scaler, dict) and bool(scaler)
