"""The label of a loop's file: the count that the loop goes on from, in the file, or else in its name alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from ckpt_doctor.inert.moments import number_of
from ckpt_doctor.inert.shapes import find, is_module
from ckpt_doctor.trainers.plain.families import family
from ckpt_doctor.trainers.shared_folders import run_around
from ckpt_doctor.types import Checkpoint, KeyPath, Member, Opaque, Places, TensorRef, dotted, mapping_of
from ckpt_doctor.types.record import kept

_NO_COUNTS = r"args|opt$|conf|cfg|hparam|setting|param_groups|best"
"""Keys whose numbers are settings, or those of another moment."""
_APART = r"rank|shard|fold|seed|part|client|worker"
_NO_MOMENT = rf"{_APART}|(19|20)\d\d[-_]?[01]\d[-_]?[0-3]\d"
"""In names, words whose number tells files of one moment apart, and dates."""
_NUMBER = r"\d{1,18}"
_COUNTED = r"(?:^|[-_. =]|(?<!\d)(?=0))(\d{1,18})\D*$"
"""A number that ends a name, apart from its words or with leading zeros: none of `resnet50`."""
_MOST_LOOKED_AT = 64
"""Values of a dict or list."""


@kept
def place_of(checkpoint: Checkpoint) -> Places:
    """The slot and place of the count that a loop goes on from; none where only the file's name has it.

    That is `epoch` at the top, else the only count of epochs, else the first of steps, or of what else goes round
    beside them (`iteration`, `update`); what is named by its steps may have an `epoch` that never moves. The slot is
    that of its name; how many steps of the optimizer it stands for, siblings show. A number under any other key, or in
    a list, is the label where the file's name has it as well."""
    return _known(checkpoint) or _as_in_the_name(checkpoint)


def _known(checkpoint: Checkpoint) -> Places:
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


def _as_in_the_name(checkpoint: Checkpoint) -> Places:
    name = moment_of(checkpoint.path)
    numbers = re.findall(_NUMBER, name)
    if not numbers or has_counts(checkpoint):
        return {}
    place = next((path for path, value in _numbers(checkpoint) if value == int(numbers[-1])), None)
    if place is None:
        return {}
    return {"epoch" if "epo" in f"{place[-1]} {name}".lower() else "step": place}


def has_counts(checkpoint: Checkpoint) -> bool:
    """Whether a file has counts of epochs or steps by their names."""
    shapes = find(checkpoint)
    return bool(shapes.epochs or shapes.steps)


def counts_in(checkpoint: Checkpoint) -> list[KeyPath]:
    """Where counts of epochs and steps are; of a file without any, where numbers are that may count."""
    shapes = find(checkpoint)
    return [part.path for part in (*shapes.epochs, *shapes.steps)] or [
        path for path, _ in _numbers(checkpoint) if not re.search(_NO_COUNTS, str(path[-1]).lower())
    ]


def _numbers(checkpoint: Checkpoint) -> Iterator[tuple[KeyPath, int]]:
    """Whole numbers at the top of a file, and in the dicts there that are no settings, and no part of torch's."""
    shapes = find(checkpoint)
    known = {
        one.path[0]
        for held in (shapes.models, shapes.optimizers, shapes.schedulers, shapes.scalers)
        for one in held
        if one.path
    }
    for key, value in _items(checkpoint.root):
        inside = mapping_of(value) if isinstance(key, str) and key not in known else None
        if type(value) is int:
            yield (key,), value
        elif inside and not re.search(_NO_COUNTS, str(key).lower()):
            yield from (((key, below), number) for below, number in _items(inside) if type(number) is int)


def _items(value: object) -> Iterator[tuple[str | int, object]]:
    mapping = mapping_of(value)
    held = mapping.items() if mapping is not None else enumerate(value if isinstance(value, (list, tuple)) else ())
    return ((key, item) for key, item in islice(held, _MOST_LOOKED_AT) if isinstance(key, (str, int)))


def only_in_the_name(checkpoint: Checkpoint) -> bool:
    """Whether a name has a number, and nothing in the file may count: no tensor, no object of a class of the script."""
    if named_number(checkpoint.path) is None or has_counts(checkpoint):
        return False
    return not any(_may_count(value) for _, value in _items(checkpoint.root))


def _may_count(value: object) -> bool:
    if isinstance(value, TensorRef):
        return value.numel == 1 and "float" not in value.dtype
    if not isinstance(value, Opaque) or not value.states or is_module(value):
        return False
    return str(value.callee) != "argparse.Namespace"


def named_number(path: Path) -> int | None:
    """The number by which a name says a moment: `step_40`, `opt000040`; None where it may say something else."""
    name = moment_of(path)
    if re.search(_NO_MOMENT, name.lower()):
        return None
    said, found = number_of(name), re.search(_COUNTED, Path(name).stem)
    return said if said is not None or found is None else int(found[1])


def told_numbers(name: str) -> list[re.Match[str]]:
    """The numbers in a name that may say its moment, and none that tells files of one moment apart (`fold1_`)."""
    found = re.finditer(rf"(?i)(?<![a-z])(?:{_APART})[-_.]?\d{{1,18}}|(?P<number>{_NUMBER})", name)
    return [one for one in found if one["number"]]


def moment_of(path: Path) -> str:
    """The name that says a file's moment: of a file in a folder of its own, that folder's."""
    return path.name if run_around(path) == path.parent else path.parent.name


# --- of a member -----------------------------------------------------------------------------------------------------


def label_slot(member: Member) -> Literal["epoch", "step"]:
    """The slot of the label."""
    return "epoch" if "epoch" in member.places else "step"


def is_in_the_file(member: Member) -> bool:
    """Whether the label is in the file, and not in its name alone."""
    return label_slot(member) in member.places


def label_of(member: Member) -> int | None:
    """The label, as it is in the file now."""
    if not is_in_the_file(member):
        return named_number(member.checkpoint.path)
    return member.state.epoch if "epoch" in member.places else member.state.global_step


def key_of(member: Member) -> str:
    """The label's key, as messages name it: `epoch`, `trainer.iteration`."""
    return dotted(member.path(label_slot(member))) if is_in_the_file(member) else "the number in the name"


def noun_of(member: Member) -> str:
    """What the label counts, by its key, or else by the name: `epoch`, `step`, `iteration`."""
    slot = label_slot(member)
    if not is_in_the_file(member):
        name = moment_of(member.checkpoint.path).lower()
        return next((noun for noun in ("epoch", "iteration") if noun[:4] in name), "step")
    key = str(member.path(slot)[-1])
    return next((noun for noun in ("episode", "update") if noun in key), "iteration" if "it" in key else slot)


def a(noun: str) -> str:
    """`a step`, `an epoch`."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
