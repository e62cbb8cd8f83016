"""What the Hugging Face Trainer writes where: the folders of a run, their files, and the training state inside.

Source: transformers 5.24, `src/transformers/trainer.py` (`_save_checkpoint`), `trainer_utils.py`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from ckpt_doctor.inert.scheduler_kinds import counts
from ckpt_doctor.trainers.hf_trainer.command import ARGUMENTS, command_in
from ckpt_doctor.trainers.shared_folders import names_in, number_behind, numbered_in
from ckpt_doctor.trainers.state import highest_step, position_of, training_state
from ckpt_doctor.types import Checkpoint, KeyPath, Member, ReadScalars, real

FOLDER = "checkpoint-"
"""`PREFIX_CHECKPOINT_DIR`; a resume with `True` takes the highest number and looks at nothing inside."""
STATE = "trainer_state.json"
"""Written last."""
OPTIMIZER, OPTIMIZER_FSDP = "optimizer.pt", "optimizer.bin"
SCHEDULER = "scheduler.pt"
SCALER = "scaler.pt"
CONFIG = "config.json"
RANDOM = re.compile(r"rng_state(?:_(\d{1,6}))?\.pth\Z")
"""One file, or one for each of several processes."""
_MARKS = frozenset({STATE, ARGUMENTS, OPTIMIZER, SCHEDULER})
_OF_A_LOOP = frozenset({"model.pt", "model.pth"})
"""Weights that hand-written loops put beside `optimizer.pt`; the Trainer's have other names."""
_RESUMED = frozenset({OPTIMIZER, OPTIMIZER_FSDP, SCHEDULER})
_ACCELERATE = r"random_states_\d+\.pkl|optimizer(_\d+)?\.bin|scheduler(_\d+)?\.bin|sampler(_\d+)?\.bin"
"""What Accelerate's `save_state` writes, which scripts of diffusers also put into `checkpoint-N`."""
DEEPSPEED = re.compile(r"(global_step\d+)/")
MARKER = "latest"
"""DeepSpeed reads in it which folder to load (deepspeed/runtime/engine.py, `load_checkpoint`)."""
_TRAINING_FILE = (
    r"optimizer.*|scheduler\.pt|scaler\.pt|rng_state.*\.pth|training_args\.bin|.*-optimizer\.pt|tokenizer.*"
)
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".distcp", ".h5", ".msgpack", ".index.json")
_MODEL_FILES = ("model.safetensors", "pytorch_model.bin")
_NEIGHBOURS = 8
"""Folders of the run that are looked into to see whose it is."""
PLAIN_MOMENTS = frozenset({"adamw_torch", "adamw_torch_fused", "adamw_torch_xla", "adamw_torch_npu_fused"}) | {
    *("adamw_hf", "adamw_apex_fused", "sgd", "adagrad", "rmsprop")
}
"""Optimizers (`--optim`) that keep a state of each parameter's own shape."""


def named_step(path: Path) -> int | None:
    """N of a folder `checkpoint-N`; `.` goes by the name of the folder that it is."""
    return number_behind(FOLDER, path.name or path.absolute().name)


def run_of(path: Path) -> Path | None:
    """The folder around a `checkpoint-N`."""
    if named_step(path) is None:
        return None
    return path.parent if path.name else path / ".."


def is_unit(folder: Path, names: Collection[str]) -> bool:
    """Whether a folder is a checkpoint of the Trainer, whole or not.

    By what only the Trainer writes; a `checkpoint-N` without any of that where its neighbours have it: the save was cut
    off. Under another name only where it also has what is resumed from, which a finished model's folder does not have.
    """
    here = set(names)
    if _is_of_a_loop(here):
        return False
    if named_step(folder) is None:
        return STATE in here and bool(here & _RESUMED or any(map(RANDOM.match, here)))
    if any(number_behind(FOLDER, name) is not None for name in here) and not here & _RESUMED:
        return False  # the output folder of a run
    return _has_marks(here) or (not any(re.fullmatch(_ACCELERATE, name) for name in here) and _is_beside_ours(folder))


def _is_of_a_loop(names: Collection[str]) -> bool:
    return not _OF_A_LOOP.isdisjoint(names) and {STATE, ARGUMENTS}.isdisjoint(names)


def _has_marks(names: Collection[str]) -> bool:
    return not _MARKS.isdisjoint(names) or any(map(RANDOM.match, names))


def _is_beside_ours(folder: Path) -> bool:
    """Whether one of the next checkpoints of the same run is the Trainer's."""
    here = named_step(folder) or 0
    others = sorted(numbered(run_of(folder) or folder), key=lambda found: abs(found[1] - here))
    return any(_has_marks(names_in(other)) for other, number in others[: _NEIGHBOURS + 1] if number != here)


def numbered(folder: Path) -> list[tuple[Path, int]]:
    """The folders `checkpoint-N` of a run, each with its N."""
    return [(path, number) for path, number in numbered_in(folder, FOLDER) if path.is_dir()]


def prunable(folder: Path) -> list[tuple[Path, int]]:
    """Those of them that are the Trainer's."""
    return [(path, number) for path, number in numbered(folder) if is_unit(path, names_in(path))]


def siblings(folder: Path) -> list[Path]:
    """The checkpoints of a run, in order."""
    return [path for path, _ in sorted(prunable(folder), key=lambda found: found[1])]


def resume_target(folder: Path) -> Path | None:
    """What `resume_from_checkpoint=True` takes: the highest number, whatever is in that folder."""
    if is_unit(folder, names_in(folder)):
        return folder
    found = numbered(folder)
    if not any(_has_marks(names_in(path)) for path, _ in found):
        return None
    return max(found, key=lambda one: one[1])[0]


def reads_part(name: str) -> bool:
    """Whether a resume reads a file of the folder: all but the saved command and what only inference needs."""
    return name not in (ARGUMENTS, "generation_config.json") and not name.startswith(("tokenizer", "special_tokens"))


# --- a checkpoint ----------------------------------------------------------------------------------------------------


def file_names(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The names of all files of a unit, those in folders below with a slash."""
    return tuple(checkpoint.metadata.get("files", ()))


def top_names(checkpoint: Checkpoint) -> set[str]:
    """What lies directly in the folder, as far as it holds files."""
    return {name.partition("/")[0] for name in file_names(checkpoint)}


def is_ours(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is a folder of the Trainer."""
    return checkpoint.container == "folder" and is_unit(checkpoint.path, top_names(checkpoint))


def reads(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint can be read as the Trainer's."""
    names = top_names(checkpoint)
    marked = _has_marks(names) and not _is_of_a_loop(names)
    return checkpoint.container == "folder" and (marked or is_unit(checkpoint.path, names))


def is_deepspeed(checkpoint: Checkpoint) -> bool:
    """Whether DeepSpeed keeps the optimizer's and, as a rule, the schedule's state."""
    names = file_names(checkpoint)
    return MARKER in names or any(map(DEEPSPEED.match, names))


def has_optimizer(checkpoint: Checkpoint) -> bool:
    """Whether the Trainer finds an optimizer state, in any of its forms.

    `_load_optimizer_and_scheduler`: the file, FSDP's, any folder whose name has "optimizer" in it, one for each rank
    under SageMaker and XLA, or DeepSpeed's.
    """
    names = file_names(checkpoint)
    return is_deepspeed(checkpoint) or any(
        name in (OPTIMIZER, OPTIMIZER_FSDP)
        or "optimizer" in name.rpartition("/")[0]
        or name.startswith(OPTIMIZER + "_")
        or name.endswith("-" + OPTIMIZER)
        for name in names
    )


def optimizer_name(checkpoint: Checkpoint) -> str:
    """The file that the optimizer's state is in, where it is in one."""
    names = file_names(checkpoint)
    return OPTIMIZER_FSDP if OPTIMIZER not in names and OPTIMIZER_FSDP in names else OPTIMIZER


def has_scheduler(checkpoint: Checkpoint) -> bool:
    """Whether the schedule's state is there; with DeepSpeed's own schedule it is in DeepSpeed's files."""
    return SCHEDULER in file_names(checkpoint) or is_deepspeed(checkpoint)


def has_weights(checkpoint: Checkpoint) -> bool:
    """Whether anything there may be the model's weights: a file that training does not write, or a folder of shards."""
    return is_deepspeed(checkpoint) or any(
        name.endswith(_WEIGHT_SUFFIXES) and not re.fullmatch(_TRAINING_FILE, name) for name in file_names(checkpoint)
    )


def random_files(checkpoint: Checkpoint) -> list[str]:
    """The parts that hold random states, the first process's first."""
    names = checkpoint.root if isinstance(checkpoint.root, dict) else ()
    return sorted((name for name in names if isinstance(name, str) and RANDOM.match(name)), key=lambda n: (len(n), n))


def ranks(checkpoint: Checkpoint) -> list[int | None]:
    """The processes whose random state is there; None of a run with one process."""
    found = (RANDOM.match(name) for name in top_names(checkpoint))
    return [None if match[1] is None else int(match[1]) for match in found if match]


def member_of(checkpoint: Checkpoint, read_scalars: ReadScalars) -> Member:
    """A checkpoint with its state and the step that its folder names."""
    if checkpoint.container != "folder":
        return Member(checkpoint, training_state(checkpoint, {}, read_scalars), None)
    path, places = checkpoint.path, dict(_places(checkpoint))
    state = training_state(checkpoint, places, read_scalars)
    if not counts(checkpoint.get(SCHEDULER)):
        state = replace(state, step_count=None)  # of CosineAnnealingWarmRestarts it stays at 0
    state = replace(state, last_epoch=position_of(checkpoint.get(SCHEDULER)))
    if state.optimizer_step is None:
        state = replace(state, optimizer_step=highest_step(checkpoint.get(optimizer_name(checkpoint), "state")))
    epoch = real(checkpoint.get(STATE, "epoch"))
    if epoch is not None and 0 <= epoch < 1e9:
        state = replace(state, epoch=int(epoch + 1e-9))  # finished ones; a resume does not read it
    right_name = f"checkpoint-{state.global_step}" if state.global_step is not None else ""
    label = path.name or path.absolute().name
    return Member(checkpoint, state, "step", named_step(path), right_name, places, label)


def read_parts(member: Member) -> Iterator[KeyPath]:
    """What the Trainer reads without a default, but for the optimizer's state.

    `_load_rng_state`; torch/optim/lr_scheduler.py, `LambdaLR.load_state_dict`; `_save_checkpoint` looks for the state
    of each callback and for TrainerControl's."""
    for name in random_files(member.checkpoint):
        yield from ((name, key) for key in ("python", "numpy", "cpu"))
    if member.at("scheduler") == {}:
        yield member.path("scheduler", "lr_lambdas")
    yield STATE, "stateful_callbacks", "TrainerControl"


def _places(checkpoint: Checkpoint) -> Iterator[tuple[str, KeyPath]]:
    root = checkpoint.root if isinstance(checkpoint.root, dict) else {}
    yield "optimizer", (optimizer_name(checkpoint),)
    yield "scheduler", (SCHEDULER,)
    yield "step", (STATE, "global_step")
    yield "best", (STATE, "best_metric")
    yield "patience", (*_callback(checkpoint), "attributes", "early_stopping_patience_counter")
    if SCALER in root:
        yield "scaler", (SCALER,)
    if random := random_files(checkpoint):
        yield "rng", (random[0],)
    model = next((name for name in _MODEL_FILES if name in root), None)
    if model is not None and command_in(checkpoint).text("optim") in PLAIN_MOMENTS:
        yield "model", (model,)


def _callback(checkpoint: Checkpoint) -> KeyPath:
    """Where EarlyStopping's state is; of several callbacks the first's."""
    path = (STATE, "stateful_callbacks", "EarlyStoppingCallback")
    return (*path, 0) if isinstance(checkpoint.get(*path), list) else path
