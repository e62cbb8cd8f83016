"""What PyTorch Lightning writes where: keys, names, and the training state inside a `.ckpt` file.

Source: lightning/pytorch/trainer/connectors/checkpoint_connector.py, `dump_checkpoint` (2.6.6).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ckpt_doctor.inert.scheduler_kinds import counts
from ckpt_doctor.inert.shapes import Shapes, find
from ckpt_doctor.trainers.lightning.loops import OPTIMIZER_STEPS, loops_of, step_path
from ckpt_doctor.trainers.shared_folders import names_in
from ckpt_doctor.trainers.state import of_each_optimizer, position_of, training_state, with_further
from ckpt_doctor.types import Checkpoint, KeyPath, Member, Places, ReadScalars, TrainingState, mapping_of

VERSION = "pytorch-lightning_version"
SUFFIX = ".ckpt"
_STEP = r"(?:^|[-_.])step=(\d{1,18})(?=\D|\Z)"
"""Of the default name `{epoch}-{step}.ckpt`: `epoch=1-step=20.ckpt`, with `-v1` where that name was taken."""
SCALERS = ("MixedPrecision", "MixedPrecisionPlugin", "NativeMixedPrecisionPlugin", "native_amp_scaling_state")
"""Where the precision plugin of one version or another keeps its GradScaler."""
MOST_SIBLINGS = 500


def reads(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is Lightning's: its version beside a `state_dict`."""
    root = checkpoint.root
    if not isinstance(root, dict) or checkpoint.parts:
        return False
    return isinstance(root.get(VERSION), str) and mapping_of(root.get("state_dict")) is not None


def is_weights_only(checkpoint: Checkpoint) -> bool:
    """Whether it was saved with `save_weights_only=True`, or stripped to its weights."""
    return "optimizer_states" not in checkpoint.keys


def version_of(checkpoint: Checkpoint) -> tuple[int, ...]:
    """`(2, 6, 6)`; empty where the text does not begin with numbers."""
    told = checkpoint.get(VERSION)
    numbers = re.match(r"\d{1,4}(?:\.\d{1,4})*", told) if isinstance(told, str) else None
    return tuple(map(int, numbers[0].split("."))) if numbers else ()


def is_measured(checkpoint: Checkpoint) -> bool:
    """Whether the file has the form whose resume was measured: Lightning 2's."""
    return version_of(checkpoint)[:1] >= (2,)


def siblings(folder: Path) -> list[Path]:
    """The `.ckpt` files of a run folder, the newest where there are very many."""
    try:
        named = [folder / name for name in names_in(folder) if name.endswith(SUFFIX)]
        found = [(entry.stat().st_mtime_ns, entry) for entry in named if entry.is_file()]
    except OSError:  # a folder that may not be entered, or files that went meanwhile
        return []
    return sorted(entry for _, entry in sorted(found, reverse=True)[:MOST_SIBLINGS])


def places_of(checkpoint: Checkpoint) -> Places:
    """Slot -> key path. Of several optimizers or schedulers the first."""
    from ckpt_doctor.trainers.lightning import callbacks  # a file of others needs none of this

    found: dict[str, KeyPath] = {"model": ("state_dict",)}
    if optimizers(checkpoint):
        found["optimizer"] = ("optimizer_states", 0)
    if schedulers(checkpoint) and optimizers(checkpoint) < 2:
        found["scheduler"] = ("lr_schedulers", 0)
    found.update(next(iter(of_each(checkpoint)), {}))
    if loops_of(checkpoint) is not None:
        found["step"] = step_path(checkpoint)
        found["epoch"] = ("loops", "fit_loop", "epoch_progress", "current", "completed")
    else:
        found["step"], found["epoch"] = ("global_step",), ("epoch",)
    scaler = next((key for key in SCALERS if key in checkpoint.keys), None)
    if scaler:
        found["scaler"] = (scaler,)
    best = next((saver for saver in callbacks.savers(checkpoint) if saver.monitor), None)
    if best is not None:
        found["best"] = (*best.path, "best_model_score")
    if stoppers := callbacks.stoppers(checkpoint):
        found["patience"] = (*stoppers[0].path, "wait_count")
    return found


def member_of(checkpoint: Checkpoint, read_scalars: ReadScalars) -> Member:
    """A checkpoint with its state and the step that its name says."""
    places = places_of(checkpoint)
    state, name = training_state(checkpoint, places, read_scalars), checkpoint.path.name
    match = re.search(_STEP, name)
    named = int(match[1]) if match else None
    right = name
    if match and state.global_step is not None:
        right = f"{name[: match.start(1)]}{state.global_step}{name[match.end(1) :]}"
    member = Member(checkpoint, state, None, named if is_measured(checkpoint) else None, right, places)
    member = with_further(member, of_each(checkpoint))
    further = tuple((_as_compared(checkpoint, state, at), at) for state, at in member.further)
    return replace(member, state=_as_compared(checkpoint, state, places), further=further)


def _as_compared(checkpoint: Checkpoint, state: TrainingState, places: Places) -> TrainingState:
    """The state without counts that say nothing beside the others."""
    scheduler, loops = checkpoint.get(*places["scheduler"]) if "scheduler" in places else None, loops_of(checkpoint)
    state = replace(state, last_epoch=position_of(scheduler))
    by_script = loops is not None and loops.schedule and state.step_count == loops.schedule + 1
    if by_script or not counts(scheduler):  # all its steps are counted: `step(epoch)` sets the position
        state = replace(state, step_count=None)
    if optimizers(checkpoint) > 1 or is_by_hand(checkpoint) or not is_measured(checkpoint):
        return replace(state, optimizer_step=None)  # the loops count the steps of all optimizers together
    return state


def of_each(checkpoint: Checkpoint) -> list[dict[str, KeyPath]]:
    """For each of several optimizers its place and that of its schedule; nothing where one of them cannot be read."""
    found = parts_of(checkpoint)
    whole = len(found.optimizers) == optimizers(checkpoint) > 1 and len(found.schedulers) == schedulers(checkpoint)
    return of_each_optimizer(found) if whole else []


def parts_of(checkpoint: Checkpoint) -> Shapes:
    """The model, the optimizers and the schedules that a resume takes, as far as they can be read."""
    shapes = find(checkpoint)
    return Shapes(
        optimizers=[one for one in shapes.optimizers if one.path[:1] == ("optimizer_states",)],
        schedulers=[one for one in shapes.schedulers if one.path[:1] == ("lr_schedulers",)],
        models=[one for one in shapes.models if one.path == ("state_dict",)],
    )


def is_by_hand(checkpoint: Checkpoint) -> bool:
    """Whether the script makes the optimizers' steps itself."""
    return step_path(checkpoint)[2] not in OPTIMIZER_STEPS


def _list(checkpoint: Checkpoint, key: str) -> list[object]:
    held = checkpoint.get(key)
    return held if isinstance(held, list) else []


def optimizers(checkpoint: Checkpoint) -> int:
    """How many optimizers the file has the state of."""
    return len(_list(checkpoint, "optimizer_states"))


def schedulers(checkpoint: Checkpoint) -> int:
    """How many schedulers the file has the state of."""
    return len(_list(checkpoint, "lr_schedulers"))
