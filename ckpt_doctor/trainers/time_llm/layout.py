"""What Time-LLM's trainer writes where: keys, folders, roles, and the training state inside a checkpoint."""

from __future__ import annotations

import re
from pathlib import Path

from ckpt_doctor.inert.scheduler_kinds import scheduler_kind
from ckpt_doctor.trainers.shared_folders import number_behind, numbered_in
from ckpt_doctor.trainers.state import training_state
from ckpt_doctor.types import WRAPPERS, Checkpoint, Member, Places, ReadScalars, Role

REQUIRED = ("model", "optimizer", "scheduler", "epoch", "global_step")
"""Keys that the resuming trainer reads without a default."""
EARLY_STOPPING = ("best_score", "val_loss_min", "counter")
COMPLETE_ONLY = (*EARLY_STOPPING, "rng_state", "rng_state_at", "sampler_state", "scaler")
"""Keys of the complete trainer; each is read with a default."""

BEST_NAME = "checkpoint"
"""EarlyStopping's file: `os.path.join(path, 'checkpoint')`, no suffix."""
STEP_FOLDER = "checkpoint_step_"
_OF_A_STEP = r"(\w+ \w+ )?checkpoint_step_\d+"
"""Also what a file manager or Drive makes of a second one: `checkpoint_step_24 (1)`, `Copy of checkpoint_step_24`."""
RUN_NAME = re.compile(r"_ft[A-Za-z]+_sl\d+_ll\d+_pl\d+_")
"""In the names of run folders: features, sequence, label and prediction length (run_main.py, `setting`)."""
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
    return number_behind(STEP_FOLDER, path.parent.name)


def run_of(path: Path) -> Path | None:
    """The run folder of a file in a step folder; None for any other place."""
    name = path.parent.name
    return path.parent.parent if STEP_FOLDER in name and re.match(_OF_A_STEP, name) else None


def run_folder(path: Path) -> Path:
    """The folder of the run that a checkpoint belongs to: the file's own, or the one above its step folder."""
    return run_of(path) or path.parent


def siblings(folder: Path) -> list[Path]:
    """EarlyStopping's file and the step files of a run folder."""
    steps = [path / name for path, _ in prunable(folder) for name in STEP_NAMES]
    return [path for path in (folder / BEST_NAME, *steps) if _is_file(path)]


def prunable(folder: Path) -> list[tuple[Path, int]]:
    """The step folders of a run, each with the N of its name."""
    return numbered_in(folder, STEP_FOLDER)


def resume_target(folder: Path) -> Path | None:
    """What `--resume_from_checkpoint FOLDER` loads: `checkpoint.pt`, else `checkpoint`."""
    return next((folder / name for name in STEP_NAMES if _is_file(folder / name)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder on the way that may not be entered
        return False


def reads(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint can be read as this trainer's: its keys fit, and its schedule is one that it builds.

    Bare weights can, wherever they lie: `run_m4.py` and `migrate --upgrade` take them.
    """
    if checkpoint.layout == "state-dict":
        return checkpoint.container in ("torch-zip", "torch-legacy") or _is_time_llm(checkpoint.root)
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


def fits(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint can be this trainer's by what it holds; bare weights by where they lie, too."""
    in_place = checkpoint.layout != "state-dict" or role_of(checkpoint.path) is not None
    return reads(checkpoint) and (in_place or _is_time_llm(checkpoint.root))


def is_signed(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint that fits carries a sign that no other project's does.

    TimeLLM's submodules; EarlyStopping's three values beside the five keys; or the place and the run folder's name
    (`long_term_forecast_ETTh1_24_8_TimeLLM_ETTh1_ftM_sl24_ll12_pl8_...`, run_main.py) that the trainer gives them.
    """
    root = checkpoint.root
    model = root if checkpoint.layout == "state-dict" else root.get("model") if isinstance(root, dict) else None
    if _is_time_llm(model):
        return True
    if role_of(checkpoint.path) is not None and RUN_NAME.search(run_folder(checkpoint.path.absolute()).name):
        return True
    return isinstance(root, dict) and all(key in root for key in (*REQUIRED, *EARLY_STOPPING))


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


PLACES: Places = {
    "model": ("model",),
    "optimizer": ("optimizer",),
    "scheduler": ("scheduler",),
    "scaler": ("scaler",),
    "rng": ("rng_state",),
    "epoch": ("epoch",),
    "step": ("global_step",),
    "best": ("best_score",),
    "best_loss": ("val_loss_min",),
    "patience": ("counter",),
}
"""Slot -> key path of the trainer's dict."""


def member_of(checkpoint: Checkpoint, read_scalars: ReadScalars) -> Member:
    """A checkpoint with its state, its role and the step that its folder names."""
    path = checkpoint.path
    state, role = training_state(checkpoint, PLACES, read_scalars), role_of(path)
    right_name = f"checkpoint_step_{state.global_step}" if state.global_step is not None else ""
    label = path.parent.name if role == "step" else path.name
    return Member(checkpoint, state, role, named_step(path), right_name, PLACES, label)


def uses_amp(member: Member) -> bool:
    """Whether the run has an enabled gradient scaler, which skips optimizer steps that Adam then does not count."""
    scaler = member.checkpoint.get("scaler")
    return isinstance(scaler, dict) and bool(scaler)
