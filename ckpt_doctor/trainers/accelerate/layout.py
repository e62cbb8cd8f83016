"""What Accelerate's `save_state` writes: a folder's parts, its name, and the training state inside.

accelerate/checkpointing.py, `save_accelerator_state` and `load_accelerator_state`; accelerate/utils/constants.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ckpt_doctor.inert.scheduler_kinds import counts
from ckpt_doctor.trainers.shared_folders import names_in, number_behind
from ckpt_doctor.trainers.state import position_of, training_state
from ckpt_doctor.types import Checkpoint, Member, Places, ReadScalars, TrainingState, mapping_of

Naming = Literal["step", "epoch", "optimizer-step", "save"]
"""What the number in a folder's name counts: batches (or optimizer steps), finished epochs but one, optimizer steps,
calls of `save_state`."""
NAMES: dict[str, Naming] = {
    "step_": "step",
    "epoch_": "epoch",
    "checkpoint-": "optimizer-step",
    "checkpoint_": "save",
}
"""examples/by_feature/checkpointing.py (both of the first); the scripts of diffusers; `automatic_checkpoint_naming`."""
RANK = re.compile(r"random_states_(\d{1,6})\.pkl")
OPTIMIZER, SCHEDULER, SCALER = "optimizer.bin", "scheduler.bin", "scaler.pt"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
COUNTS = "train_state.json"
"""Where the scripts of kohya-ss count epochs and steps, from which they go on (sd-scripts, train_network.py)."""
_CUSTOM = r"custom_checkpoint_\d+\.pkl"
_READ = (
    r"(model|pytorch_model|optimizer|scheduler|sampler|dl_state_dict)(_\d+)?\.(safetensors|bin)"
    r"|random_states_\d+\.pkl|custom_checkpoint_\d+\.pkl|scaler\.pt"
)
_HOOKED = r"(?!step_\d|epoch_\d|checkpoint[-_]\d).+/"
WEIGHTS_OF_A_HOOK = _HOOKED + r"(?!optimizer|scheduler|scaler|random_states|custom_)[^/]+\.(safetensors|bin|pt|pth)"
"""What a script's own hook saves in folders of its own, as the scripts of diffusers do (`unet`, `unet_ema`)."""
_BESIDE_THEM = _HOOKED + r"([^/]+\.index|config)\.json"
_SHARDED = r"(pytorch_model|optimizer)(_fsdp)?(_\d+)?/.+"
"""Below the folders in which FSDP and DeepSpeed keep model and optimizer (accelerate/utils/fsdp_utils.py;
`Accelerator.save_state`)."""
_OF_TRANSFORMERS = frozenset({"trainer_state.json", "training_args.bin", "optimizer.pt", "scheduler.pt"})


def name_of(path: Path) -> tuple[Naming, int] | None:
    """What a folder's name counts, and its number; None for a name that a script chose itself."""
    return _named(path.name)


def _named(name: str) -> tuple[Naming, int] | None:
    numbers = ((naming, number_behind(prefix, name)) for prefix, naming in NAMES.items())
    return next(((naming, number) for naming, number in numbers if number is not None), None)


def is_unit(folder: Path, names: Collection[str]) -> bool:
    """Whether `save_state` wrote a folder with these names in it, or began to.

    Its random states are nobody else's. Where they are missing, the name must be one that scripts give such folders,
    and optimizer and schedule, or another such folder beside it, must show what it was to be.
    """
    if _OF_TRANSFORMERS.intersection(names) or any(name.startswith("rng_state") for name in names):
        return False
    if any(RANK.fullmatch(name) for name in names):
        return True
    if name_of(folder) is None or not any(re.fullmatch(_READ, name) for name in names):
        return False
    return {OPTIMIZER, SCHEDULER} <= set(names) or _has_sibling(folder)


def _has_sibling(folder: Path) -> bool:
    try:
        beside = (path for path in folder.parent.iterdir() if path != folder and name_of(path))
        return any((path / "random_states_0.pkl").is_file() for path in beside)
    except OSError:
        return False


def reads_part(name: str) -> bool:
    """Whether `load_state`, or the script's own hook in it, reads a file of the folder."""
    patterns = (_READ, _SHARDED, WEIGHTS_OF_A_HOOK, _BESIDE_THEM)
    return name == COUNTS or any(re.fullmatch(pattern, name) for pattern in patterns)


def loads_part(name: str) -> bool:
    """Whether Accelerate allows what numpy's arrays need: accelerate/utils/other.py, `TORCH_SAFE_GLOBALS`."""
    return RANK.fullmatch(name) is not None


def files(checkpoint: Checkpoint) -> Collection[str]:
    """The names of all files in the folder."""
    found = checkpoint.metadata.get("files")
    return found if isinstance(found, dict) else ()


def reads(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint can be read as a folder of `save_state`."""
    top = [name for name in files(checkpoint) if "/" not in name]
    return checkpoint.container == "folder" and is_unit(checkpoint.path, top)


def run_of(path: Path) -> Path | None:
    """The folder that holds the checkpoints; None for a name that no script of Accelerate gives."""
    return path.parent if name_of(path) else None


def folders(run: Path) -> list[tuple[Path, int]]:
    """The checkpoints of a run by their names, each with its number."""
    found = ((name, _named(name)) for name in names_in(run))
    return [(run / name, named[1]) for name, named in found if named is not None and _is_unit(run / name)]


def _is_unit(path: Path) -> bool:
    return is_unit(path, names_in(path))


def resume_target(folder: Path) -> Path | None:
    """The folder itself; of several with automatic names the last, which `load_state()` takes."""
    if _is_unit(folder):
        return folder
    found = folders(folder)
    numbered = bool(found) and all((name_of(path) or ("",))[0] == "save" for path, _ in found)
    return max(found, key=lambda one: one[1])[0] if numbered else None


def ranks(checkpoint: Checkpoint) -> list[int]:
    """The processes whose random states are there."""
    return sorted(int(match[1]) for name in files(checkpoint) if (match := RANK.fullmatch(name)))


def customs(checkpoint: Checkpoint) -> int:
    """How many registered objects were saved."""
    return sum(re.fullmatch(_CUSTOM, name) is not None for name in files(checkpoint))


def is_sharded(checkpoint: Checkpoint) -> bool:
    """Whether FSDP, DeepSpeed or Megatron keeps the model in a folder of its own."""
    return any(re.fullmatch(_SHARDED, name) for name in files(checkpoint))


def has_several(checkpoint: Checkpoint) -> bool:
    """Whether several optimizers or schedulers were prepared, whose steps are their own."""
    return bool({"optimizer_1.bin", "scheduler_1.bin"}.intersection(files(checkpoint)))


def places_of(checkpoint: Checkpoint) -> Places:
    """Slot -> part. The slots whose parts are missing have their places all the same."""
    weights = next((name for name in WEIGHTS if name in files(checkpoint)), WEIGHTS[0])
    rank = next(iter(ranks(checkpoint)), 0)
    return {
        "model": (weights,),
        "optimizer": (OPTIMIZER,),
        "scheduler": (SCHEDULER,),
        "scaler": (SCALER,),
        "rng": (f"random_states_{rank}.pkl",),
    }


def member_of(checkpoint: Checkpoint, read_scalars: ReadScalars) -> Member:
    """A checkpoint with its state. No part counts steps, so those that Adam has made are taken."""
    places = places_of(checkpoint)
    state = training_state(checkpoint, places, read_scalars)
    last = position_of(checkpoint.get(SCHEDULER))
    steps = 0 if is_before_first_step(checkpoint) and last in (0, None) else state.optimizer_step
    state = replace(
        state,
        global_step=steps,
        optimizer_step=steps,
        last_epoch=last,
        step_count=state.step_count if counts(checkpoint.get(SCHEDULER)) else None,
    )
    named = name_of(checkpoint.path)
    counted = named if named is not None and named[0] in ("step", "optimizer-step") else None
    return Member(checkpoint, state, "step", counted[1] if counted else None, _right_name(counted, state), places)


def is_before_first_step(checkpoint: Checkpoint) -> bool:
    """Whether `step_N` was saved when all its batches were in the first accumulation, so that no optimizer had stepped.

    `accelerator.accumulate` counts the batches of an epoch (`Accelerator.step`)."""
    named, rank = name_of(checkpoint.path), next(iter(ranks(checkpoint)), 0)
    done = checkpoint.get(f"random_states_{rank}.pkl", "step")
    group = checkpoint.get(OPTIMIZER, "param_groups", 0)
    keeps_none = isinstance(group, dict) and group.get("momentum") == 0  # SGD
    return checkpoint.get(OPTIMIZER, "state") == {} and bool(done) and named == ("step", done) and not keeps_none


def _right_name(counted: tuple[Naming, int] | None, state: TrainingState) -> str:
    if counted is None or state.optimizer_step is None:
        return ""
    return f"{'step_' if counted[0] == 'step' else 'checkpoint-'}{state.optimizer_step}"


def within_epoch(member: Member) -> int | None:
    """Batches of the epoch that had been trained, where `accelerator.accumulate` counted them; 0 at an epoch's end.

    `Accelerator.step`; None where nothing was counted, as the count is 0 in a loop without `accumulate`, too.
    """
    step = (mapping_of(member.at("rng")) or {}).get("step")
    return step if isinstance(step, int) and not isinstance(step, bool) and step > 0 else None
