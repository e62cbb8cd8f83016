"""What a hand-written loop saves: one dict with a model, an optimizer and a count of epochs or steps."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from os import DirEntry
from os.path import splitext
from pathlib import Path
from typing import Any

from ckpt_doctor.inert.moments import form_of
from ckpt_doctor.inert.pairing import MOST, covers, elements, model_of, shapes_of_moments
from ckpt_doctor.inert.shapes import Shapes, find
from ckpt_doctor.readers.part_names import SPEECHBRAIN, beside
from ckpt_doctor.remote import RemotePath, entries_of
from ckpt_doctor.trainers.plain import families
from ckpt_doctor.trainers.plain.label import moment_of, only_in_the_name, place_of
from ckpt_doctor.trainers.shared_folders import names_in, run_around
from ckpt_doctor.trainers.state import first_of, of_each_optimizer, training_state, with_further
from ckpt_doctor.types import (
    Checkpoint,
    KeyPath,
    Member,
    Places,
    ReadScalars,
    TensorRef,
    mapping_of,
    wrapper_of,
)
from ckpt_doctor.types.record import kept

_OTHERS = frozenset(
    {
        *("pytorch-lightning_version", "loops", "callbacks", "hyper_parameters"),  # Lightning
        *("ds_config", "ds_version", "dp_world_size", "mp_world_size", "global_steps"),  # DeepSpeed
        *("extra_state", "last_optimizer_state", "optimizer_history"),  # fairseq
        *("best_fitness", "train_args", "updates"),  # Ultralytics
        "opt_param_scheduler",  # Megatron, one file of each rank
        *("iter_num", "model_args", "trainer_state", families.BASELINES),
    }
)
"""Keys of projects whose resume is their own; Hugging Face's and Accelerate's checkpoints are folders."""
_FIVE = frozenset({"model", "optimizer", "scheduler", "epoch", "global_step"})
_MORE = _FIVE | {"best_score", "val_loss_min", "counter", "rng_state", "rng_state_at", "sampler_state", "scaler"}
"""All of a file that may as well be of a trainer whose signs it lacks: no narrow recognition."""
_IS_RANDOM = re.compile(r"(torch_|cpu_)?(rng|random)(_state)?s?|(rng|random)_state_dict", re.I).fullmatch
_NUMBER = r"\d{1,18}"
MOST_SIBLINGS = 8
"""Files that are read beside those that were asked for."""


def fits(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint has what a loop saves, and no mark of a project that resumes in its own way."""
    keys = set(checkpoint.keys)
    if keys & _OTHERS or (keys >= _FIVE and keys <= _MORE):
        return False
    return reads(checkpoint)


@kept
def reads(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is a dict with models, their optimizers and a label, whatever their keys.

    One optimizer goes with one model; of several the moments show that they are these models'."""
    root = mapping_of(checkpoint.root) or {}
    is_set = checkpoint.parts and not is_unit(checkpoint.path, checkpoint.metadata.get("files", ()))
    if not isinstance(checkpoint.root, (dict, list, tuple)) or is_set or checkpoint.layout == "state-dict":
        return False
    shapes = find(checkpoint)
    return (
        (_is_whole(shapes) or _lies_among_weights(checkpoint) or lacks_weights(checkpoint))
        and (bool(place_of(checkpoint)) or only_in_the_name(checkpoint))
        and not any(_is_strange(root, key, shapes) for key in root)
    )


def has_several(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint has more than one optimizer."""
    return len(find(checkpoint).optimizers) > 1


def has_more_schedules(checkpoint: Checkpoint) -> bool:
    """Whether it has more of them than optimizers: which of them sets the rate, and when, is in the script."""
    shapes = find(checkpoint)
    return len(shapes.schedulers) > len(shapes.optimizers)


def _is_whole(shapes: Shapes) -> bool:
    """Whether a file has both models and the optimizers of these."""
    return _is_one(shapes) if len(shapes.optimizers) == 1 else _are_several(shapes)


def _is_one(shapes: Shapes) -> bool:
    """Whether there is one optimizer and one model, or several that it trains nearly whole.

    Of a model that it does not train the optimizer is elsewhere; a buffer of a loss needs none."""
    if len(shapes.optimizers) != 1 or len(shapes.trained) < 2:
        return len(shapes.optimizers) == len(shapes.trained) == 1
    moments = Counter(shapes_of_moments(shapes.optimizers[0]))
    size = sum(math.prod(shape) * many for shape, many in moments.items())
    return 4 * size >= 3 * elements(shapes) or _are_copies(shapes, moments)


def _are_copies(shapes: Shapes, moments: Counter[tuple[int, ...]]) -> bool:
    """Whether an optimizer trains the first model of a list, and the others, which no key names, are its averages."""
    first, *others = (
        {key: value.shape for key, value in one.value.items() if isinstance(value, TensorRef)} for one in shapes.trained
    )
    are_listed = all(isinstance(one.path[-1], int) for one in shapes.trained)
    are_alike = moments <= Counter(first.values()) and all(one.items() <= first.items() for one in others)
    return bool(moments) and are_listed and are_alike


def _are_several(shapes: Shapes) -> bool:
    """Whether there are several optimizers, of parameters that are in the file, and no more schedulers than these.

    What trains a model that is saved elsewhere is resumed from there as well."""
    optimizers = shapes.optimizers
    if not shapes.trained or not len(shapes.schedulers) <= len(optimizers) <= MOST or len(optimizers) < 2:
        return False
    by_name = len(shapes.trained) > 1
    return all(covers(shapes, one) or (by_name and model_of(one, shapes)) for one in optimizers)


def lacks_weights(checkpoint: Checkpoint) -> bool:
    """Whether a file has optimizers, and none of the weights that the first of them trains: another file has those.

    So do pairs of files (`g_00001000`, `do_00001000`) and of folders (`models/`, `training_states/`)."""
    shapes = find(checkpoint)
    optimizers = shapes.optimizers
    if (
        checkpoint.parts
        or _is_whole(shapes)
        or _lies_among_weights(checkpoint)
        or not len(shapes.schedulers) <= len(optimizers) <= MOST
        or not optimizers
    ):
        return False
    moments = set(shapes_of_moments(optimizers[0]))
    held = {value.shape for one in shapes.models for value in one.value.values() if isinstance(value, TensorRef)}
    return bool(moments) and (not shapes.models or (len(optimizers) > 1 and not moments <= held))


def _lies_among_weights(checkpoint: Checkpoint) -> bool:
    """Whether the only optimizer lies in a list with the parameters that it trains, as tensors without names."""
    shapes = find(checkpoint)
    if shapes.models or len(shapes.optimizers) != 1 or not shapes.optimizers[0].path:
        return False
    around = checkpoint.get(*shapes.optimizers[0].path[:-1])
    beside = around if isinstance(around, (list, tuple)) else ()
    held = Counter(value.shape for value in beside if isinstance(value, TensorRef))
    moments = Counter(shapes_of_moments(shapes.optimizers[0]))
    return bool(moments) and moments <= held


def _is_strange(root: dict[object, object], key: object, shapes: Shapes) -> bool:
    """Whether a value under an optimizer's name is neither one nor empty, or one under a scheduler's no state."""
    if not isinstance(key, str):
        return True
    if not ("sched" in key.lower() or "optim" in key.lower()) or not root[key]:
        return False
    known = [part.path[0] for part in shapes.schedulers] + [part.path[0] for part in shapes.optimizers]
    held = isinstance(root[key], (dict, list, tuple)) and key not in known
    return held and ("optim" in key.lower() or not _states_in(root[key]))


def _states_in(value: object) -> list[dict[Any, object]]:
    """A scheduler's state of no class of torch: a dict of values, or a list of such."""
    states = [mapping_of(one) for one in (value if isinstance(value, (list, tuple)) else [value])]
    known = [state for state in states if state is not None]
    return known if len(known) == len(states) and all(isinstance(key, str) for one in known for key in one) else []


def own_schedule(checkpoint: Checkpoint) -> tuple[KeyPath, list[dict[Any, object]]] | None:
    """Where the state of a schedule is that is of no class of torch, and that state; None where there is none."""
    root = mapping_of(checkpoint.root) or {}
    names = [key for key in root if isinstance(key, str) and "sched" in key.lower() and root[key]]
    if not names:
        return None
    shapes = find(checkpoint)
    paths = [*(part.path for part in shapes.schedulers), *(part.path for part in shapes.optimizers)]
    known = {path[0] for path in paths if path}
    own = next((name for name in names if name not in known), None)
    return ((own,), states) if own is not None and (states := _states_in(root[own])) else None


# --- a checkpoint of several files -----------------------------------------------------------------------------------

_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".tar"})
_MODEL = r"(model|net|network|weights)(_state)?(_dict)?"
_OPTIMIZER = r"optim(izer)?(_state)?(_dict)?"
_BESIDE = (
    r"((lr_?)?sched(uler)?|scaler|ema|rng|random)(_states?)?(_dict)?"
    r"|(train(ing|er)?_)?(state|meta|args|config|info)|train|epoch"
)
_MOMENT = r"\d|last|latest|best|final|current"


def is_unit(folder: Path, names: Collection[str]) -> bool:
    """Whether a folder is one moment of a loop that saves each part to a file: `epoch_3/{model,optimizer}.pt`.

    Its name says a moment, and every checkpoint in it is a part by its name: of others nobody knows whether they go
    together. Model or optimizer may be missing where its neighbours have both. SpeechBrain's has an index."""
    if SPEECHBRAIN in names:
        return True
    if not re.search(_MOMENT, folder.name):
        return False
    found = _parts_of_a_moment(folder, names)
    if found != 1:
        return found == 2
    others = [] if isinstance(folder, RemotePath) else beside(folder)
    return len(others) > 1 and all(_parts_of_a_moment(other, names_in(other)) == 2 for other in others)


def _parts_of_a_moment(folder: Path, names: Collection[str]) -> int:
    """How many of model and optimizer are in a folder with nothing but parts; 0 where there are others."""
    stems = [stem.lower() for stem, suffix in map(splitext, names) if suffix in _SUFFIXES]
    parts = [next((stem for stem in stems if re.fullmatch(each, stem)), None) for each in (_MODEL, _OPTIMIZER)]
    rest = [stem for stem in stems if stem not in parts]
    folders = (name for name in names if not name.startswith(".") and not Path(name).suffix)
    if not all(re.fullmatch(_BESIDE, stem) for stem in rest) or any((folder / name).is_dir() for name in folders):
        return 0  # a folder may hold others
    return len(parts) - parts.count(None)


# --- a file as a member of its run -----------------------------------------------------------------------------------


def places(checkpoint: Checkpoint, own: Places) -> Places:
    """Where the file keeps each slot, with those of one optimizer."""
    slots = {**own, **first_of({"scaler": find(checkpoint).scalers})}
    keys = (key for key in mapping_of(checkpoint.root) or {} if isinstance(key, str))
    random = [key for key in keys if _IS_RANDOM(key)]
    return {**slots, **place_of(checkpoint), **({"rng": (random[0],)} if random else {})}


def member_of(checkpoint: Checkpoint, read_scalars: ReadScalars) -> Member:
    """A checkpoint with its training state."""
    own = of_each_optimizer(find(checkpoint)) or [{}]
    if has_more_schedules(checkpoint):
        own = [{slot: path for slot, path in one.items() if slot != "scheduler"} for one in own]
    if lacks_weights(checkpoint):
        own = [{slot: path for slot, path in one.items() if slot != "model"} for one in own]
    found = places(checkpoint, own[0])
    member = Member(checkpoint, training_state(checkpoint, found, read_scalars), None, places=found)
    member = with_further(member, own)
    for part in checkpoint.parts or (checkpoint,):
        mine = [one for one in member.optimizers if _is_model_in(one, part)]
        counters = list({id(tensor): tensor for one in mine if (tensor := last_counter(one)) is not None}.values())
        if part is checkpoint:
            counters += [one.value for one in find(part).best if isinstance(one.value, TensorRef)]
        for tensor, value in zip(counters, read_scalars(part, counters) if counters else (), strict=True):
            tensor.value = value
    return member


def _is_model_in(member: Member, part: Checkpoint) -> bool:
    whole = member.checkpoint
    return member.has("model") and (part is whole or member.path("model")[:1] == (whole.name_of(part),))


@kept
def last_counter(member: Member) -> TensorRef | None:
    """The counter of the last batch norm in a model; the first ones are often frozen."""
    model = mapping_of(member.at("model")) or {}
    counters = (value for key, value in reversed(model.items()) if str(key).endswith("num_batches_tracked"))
    found = next(counters, None)
    return found if isinstance(found, TensorRef) else None


def form(member: Member) -> frozenset[object]:
    """What the files of one run have in common: where models and optimizers are, and the models' shapes.

    Wrapped or not: a run may go on with another number of devices."""
    shapes = find(member.checkpoint)
    wrapped = [(model, len(wrapper_of(model.value) or "")) for model in shapes.trained]
    tensors = ((model.path, str(key)[cut:], value) for model, cut in wrapped for key, value in model.value.items())
    sizes = ((*path, key, value.shape) for path, key, value in tensors if isinstance(value, TensorRef))
    places = [*(model.path for model, _ in wrapped), *(optimizer.path for optimizer in shapes.optimizers)]
    return frozenset((*sizes, *((path, len(path)) for path in places)))


def relatives(checkpoints: Sequence[Checkpoint]) -> list[Path]:
    """Files, or folders, beside one of a loop that may be of the same run: the nearest by number.

    Of a scan that has read more of them already, none are needed."""
    ours = [checkpoint for checkpoint in checkpoints if fits(checkpoint)]
    if not ours or len(ours) > MOST_SIBLINGS:
        return []
    number = _number(moment_of(ours[0].path))
    alike = sorted(_alike(ours[0]), key=lambda path: (abs(_number(moment_of(path)) - number), path.name))
    return alike[: MOST_SIBLINGS + 1]


def _number(name: str) -> int:
    """The last number in a name."""
    found = re.findall(_NUMBER, name)
    return int(found[-1]) if found else 0


def _alike(checkpoint: Checkpoint) -> Iterator[Path]:
    path, run = checkpoint.path, run_around(checkpoint.path)
    if run != path.parent:  # each file has a folder of its own
        form = form_of(path.parent.name)
        yield from (run / name / path.name for name in names_in(run) if form_of(name) == form)
        return
    try:
        with entries_of(run) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and _is_alike(entry, checkpoint):
                    yield path.with_name(entry.name)
    except OSError:  # the folder may not be listed: no evidence
        return


def _is_alike(entry: DirEntry[str], checkpoint: Checkpoint) -> bool:
    """Of folders the name but for its number; of files suffix and size."""
    if checkpoint.parts:
        return bool(entry.is_dir()) and re.sub(_NUMBER, "", entry.name) == re.sub(_NUMBER, "", checkpoint.path.name)
    named = entry.name.endswith(checkpoint.path.suffix) and entry.is_file()
    return bool(named) and abs(entry.stat().st_size - checkpoint.size) <= _slack(checkpoint)


def _slack(checkpoint: Checkpoint) -> int:
    """Counters and histories grow a little; the tensors of one run do not."""
    return 65_536 + checkpoint.size // 50
