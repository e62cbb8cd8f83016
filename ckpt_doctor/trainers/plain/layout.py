"""What a hand-written loop saves: one dict with a model, an optimizer and a count of epochs or steps."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from os import DirEntry
from os.path import splitext
from pathlib import Path
from typing import Any, Literal

from ckpt_doctor.inert.moments import form_of, number_of
from ckpt_doctor.inert.pairing import MOST, covers, elements, model_of, shapes_of_moments
from ckpt_doctor.inert.shapes import Shapes, find
from ckpt_doctor.readers.part_names import SPEECHBRAIN, beside
from ckpt_doctor.remote import RemotePath, entries_of
from ckpt_doctor.trainers.shared_folders import names_in, run_around
from ckpt_doctor.trainers.state import first_of, of_each_optimizer, training_state, with_further
from ckpt_doctor.types import (
    Checkpoint,
    KeyPath,
    Member,
    Opaque,
    Places,
    ReadScalars,
    TensorRef,
    dotted,
    mapping_of,
    real,
    wrapper_of,
)
from ckpt_doctor.types.record import once

_OTHERS = frozenset(
    {
        *("pytorch-lightning_version", "loops", "callbacks", "hyper_parameters"),  # Lightning
        *("ds_config", "ds_version", "dp_world_size", "mp_world_size", "global_steps"),  # DeepSpeed
        *("extra_state", "last_optimizer_state", "optimizer_history"),  # fairseq
        *("best_fitness", "train_args", "updates"),  # Ultralytics
        "opt_param_scheduler",  # Megatron, one file of each rank
        *("iter_num", "model_args", "trainer_state"),
    }
)
"""Keys of projects whose resume is their own; Hugging Face's and Accelerate's checkpoints are folders."""
_FIVE = frozenset({"model", "optimizer", "scheduler", "epoch", "global_step"})
_MORE = _FIVE | {"best_score", "val_loss_min", "counter", "rng_state", "rng_state_at", "sampler_state", "scaler"}
"""All of a file that may as well be of a trainer whose signs it lacks: no narrow recognition."""
_RNG = r"(torch_|cpu_)?(rng|random)(_state)?s?|(rng|random)_state_dict"
_DETECTRON2 = r"model_(\d{7}|final)\.pth"
_TSL_RUN = r"_ft[A-Za-z]+_sl\d+_ll\d+_pl\d+_"
_NUMBER = r"\d{1,18}"
MOST_SIBLINGS = 8
"""Files that are read beside those that were asked for."""


def fits(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint has what a loop saves, and no mark of a project that resumes in its own way."""
    keys = set(checkpoint.keys)
    if keys & _OTHERS or (keys >= _FIVE and keys <= _MORE):
        return False
    return reads(checkpoint)


def reads(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is a dict with models, their optimizers and a label, whatever their keys.

    One optimizer goes with one model; of several the moments show that they are these models'."""
    return once(checkpoint, "is_plain", lambda: _reads(checkpoint))


def _reads(checkpoint: Checkpoint) -> bool:
    root = mapping_of(checkpoint.root)
    is_set = checkpoint.parts and not is_unit(checkpoint.path, checkpoint.metadata.get("files", ()))
    if root is None or is_set or checkpoint.layout == "state-dict":
        return False
    shapes = find(checkpoint)
    return (
        (_is_whole(shapes) or lacks_weights(checkpoint))
        and bool(_label(checkpoint))
        and not any(_is_strange(root, key, shapes) for key in root)
    )


def has_several(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint has more than one optimizer."""
    return len(find(checkpoint).optimizers) > 1


def _is_whole(shapes: Shapes) -> bool:
    """Whether a file has both models and the optimizers of these."""
    return _is_one(shapes) if len(shapes.optimizers) == 1 else _are_several(shapes)


def _is_one(shapes: Shapes) -> bool:
    """Whether there is one optimizer, at most one scheduler, and one model, or several that it trains nearly whole.

    Of a model that it does not train the optimizer is elsewhere; a buffer of a loss needs none."""
    if len(shapes.optimizers) != 1 or len(shapes.schedulers) > 1 or not shapes.trained:
        return False
    return len(shapes.trained) == 1 or 4 * sum(map(math.prod, shapes_of_moments(shapes.optimizers[0]))) >= 3 * elements(
        shapes
    )


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
    if checkpoint.parts or _is_whole(shapes) or not len(shapes.schedulers) <= len(optimizers) <= MOST or not optimizers:
        return False
    moments = set(shapes_of_moments(optimizers[0]))
    held = {value.shape for one in shapes.models for value in one.value.values() if isinstance(value, TensorRef)}
    return bool(moments) and (not shapes.models or (len(optimizers) > 1 and not moments <= held))


def _label(checkpoint: Checkpoint) -> Places:
    """The slot and place of the count that a loop goes on from.

    That is `epoch` at the top, else the only count of epochs, else the first of steps, or of what else goes round
    beside them (`iteration`, `update`); what is named by its steps may have an `epoch` that never moves. The slot is
    that of its name; how many steps of the optimizer it stands for, siblings show."""
    shapes = find(checkpoint)
    if "epoch" in (mapping_of(checkpoint.root) or {}):
        candidates = {"epoch": [part for part in shapes.epochs if part.path == ("epoch",)]}
    else:
        name = checkpoint.path.name
        is_still = family(checkpoint) == "mmengine" and name.startswith("iter")
        is_still = is_still or [one.value for one in shapes.steps] == [number_of(name)]
        by_steps = not shapes.epochs or (is_still and all(one.value == 0 for one in shapes.epochs))
        first = sorted(shapes.steps, key=lambda part: "step" in str(part.path[-1]))[:1]
        candidates = {"step": first} if by_steps else {"epoch": shapes.epochs}
    ((slot, found),) = candidates.items()
    whole = len(found) == 1 and 0 <= found[0].value < 1 << 40 and not isinstance(checkpoint.get(*found[0].path), bool)
    return {slot: found[0].path} if whole else {}


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


# --- families --------------------------------------------------------------------------------------------------------


def family(checkpoint: Checkpoint) -> str:
    """The project whose loop wrote the file, where its keys, and its name, prove it; else empty."""
    keys, root = set(checkpoint.keys), mapping_of(checkpoint.root) or {}
    if {"arch", "version", "state_dict", "optimizer", "epoch"} <= keys:
        return "timm" if checkpoint.get("version") == 2 else ""
    if {"arch", "best_acc1", "state_dict", "optimizer", "epoch"} <= keys:
        return "imagenet"
    if {"args", "lr_scheduler", "model", "optimizer", "epoch"} <= keys:
        return "torchvision" if _is_namespace(root["args"]) else ""
    if {"meta", "state_dict", "message_hub"} <= keys and {"epoch", "iter"} <= (mapping_of(root["meta"]) or {}).keys():
        return "mmengine"
    if {"model", "optimizer", "scheduler", "iteration"} <= keys and re.fullmatch(_DETECTRON2, checkpoint.path.name):
        return "detectron2"
    if checkpoint.get("trainer", "epoch_length") is not None and checkpoint.get("trainer", "iteration") is not None:
        return "ignite"
    if {"step", "model", "opt", "ema", "scaler", "version"} <= keys:
        return "denoising-diffusion-pytorch"
    return ""


def _is_namespace(value: object) -> bool:
    return isinstance(value, Opaque) and str(value.callee) == "argparse.Namespace"


def named(checkpoint: Checkpoint) -> str:
    """What is known of a file of a project whose resume no file decides, in a clause; empty for any other."""
    root, keys = mapping_of(checkpoint.root), set(checkpoint.keys)
    if root is None:
        return ""
    if {"iter_num", "model_args", "model", "optimizer"} <= keys:
        return (
            f"nanoGPT's ckpt.pt, which resumes at iter_num {checkpoint.get('iter_num')}; its batches are drawn from "
            "seed 1337 anew after each resume"
        )
    if {"ema", "epoch"} <= keys and keys & {"train_args", "best_fitness", "updates"}:
        if checkpoint.get("epoch") == -1 or checkpoint.get("optimizer") is None:
            return "a finished and stripped file of Ultralytics (no optimizer): there is nothing to resume"
        return (
            f"a file of Ultralytics, which resumes at epoch {(real(checkpoint.get('epoch')) or 0) + 1:.0f} from the "
            "half-precision average of the weights: close to the run, never identical"
        )
    inside = checkpoint.layout == "state-dict" and checkpoint.path.name == "checkpoint.pth"
    if inside and re.search(_TSL_RUN, checkpoint.path.absolute().parent.name):
        return "the best weights of Time-Series-Library, which has no code to resume; weights only"
    return ""


# --- a file as a member of its run -----------------------------------------------------------------------------------


def places(checkpoint: Checkpoint, own: Places) -> Places:
    """Where the file keeps each slot, with those of one optimizer."""
    slots = {**own, **first_of({"scaler": find(checkpoint).scalers})}
    keys = (key for key in mapping_of(checkpoint.root) or {} if isinstance(key, str))
    random = [key for key in keys if re.fullmatch(_RNG, key.lower())]
    return {**slots, **_label(checkpoint), **({"rng": (random[0],)} if random else {})}


def label_slot(member: Member) -> Literal["epoch", "step"]:
    """The slot of the label."""
    return "epoch" if "epoch" in member.places else "step"


def label_of(member: Member) -> int | None:
    """The label, as it is in the file now."""
    return member.state.epoch if "epoch" in member.places else member.state.global_step


def key_of(member: Member) -> str:
    """The label's key, as messages name it: `epoch`, `trainer.iteration`."""
    return dotted(member.path(label_slot(member)))


def noun_of(member: Member) -> str:
    """What the label counts, by its key: `epoch`, `step`, `iteration`."""
    slot = label_slot(member)
    key = str(member.path(slot)[-1])
    return next((noun for noun in ("episode", "update") if noun in key), "iteration" if "it" in key else slot)


def a(noun: str) -> str:
    """`a step`, `an epoch`."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def member_of(checkpoint: Checkpoint, read_scalars: ReadScalars) -> Member:
    """A checkpoint with its training state."""
    own = of_each_optimizer(find(checkpoint)) or [{}]
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
    number = _number(_name(ours[0].path))
    alike = sorted(_alike(ours[0]), key=lambda path: (abs(_number(_name(path)) - number), path.name))
    return alike[: MOST_SIBLINGS + 1]


def _name(path: Path) -> str:
    """Of a file in a folder of its own, that folder's name."""
    return path.name if run_around(path) == path.parent else path.parent.name


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
