"""Optimizers, schedules and models of a folder that are of another moment, or in each other's place.

No file says what belongs to which, and `load_state` takes them by their numbers. So each is held against the files of
its own name in the other folders of the run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from math import gcd
from typing import TypeVar

from ckpt_doctor.trainers.accelerate.layout import (
    OPTIMIZER,
    SCALER,
    WEIGHTS_OF_A_HOOK,
    Naming,
    files,
    has_several,
    name_of,
)
from ckpt_doctor.trainers.state import formula_of_state, highest_step, integer
from ckpt_doctor.types import Checkpoint, Member, TensorRef, mapping_of
from ckpt_doctor.types.record import record

_PART = re.compile(r"(optimizer|scheduler)(_\d+)?\.bin")
_CUSTOM = re.compile(r"custom_checkpoint_\d+\.pkl")
"""A registered object, often a schedule or an average of weights."""
_MOST_KEYS = 40
_MODEL = re.compile(r"(model|pytorch_model)(_\d+)?\.(safetensors|bin)")
_MOVING = frozenset({"lr", "betas", "momentum", "params", "max_lr", "min_lr", "max_momentum", "base_momentum"})
ENOUGH = 2
"""Other folders that must agree."""

Value = TypeVar("Value")
Rate = tuple[int, int]
"""Steps, and of how many units of the number in the folder's name."""


@record(frozen=True)
class Usual:
    """What the files of each name have in the folders of a run."""

    rates: Mapping[tuple[Naming, str], Counter[Rate]]
    """Of folders whose names count the same."""
    kinds: Mapping[str, Counter[str]]
    nested: Mapping[str, int]
    """Weights in folders below -> how many folders have them."""
    folders: int
    last: Mapping[Naming, int]
    """The highest numbers: behind it an optimizer may have stopped training, or a schedule be at its end."""


def usual(members: Sequence[Member], ahead: int) -> Usual:
    """Look at each folder once."""
    rates: dict[tuple[Naming, str], Counter[Rate]] = {}
    last: dict[Naming, int] = {}
    kinds: dict[str, Counter[str]] = {}
    for member in members:
        if (named := _named(member, ahead)) is not None:
            naming, number = named
            last[naming] = max(number, last.get(naming, 0))
            for name, count in counts(member.checkpoint).items():
                rates.setdefault((naming, name), Counter())[_rate(count, number)] += 1
        for name, kind in _kinds(member.checkpoint).items():
            kinds.setdefault(name, Counter())[kind] += 1
    nested = Counter(
        name for member in members for name in files(member.checkpoint) if re.fullmatch(WEIGHTS_OF_A_HOOK, name)
    )
    return Usual(rates, kinds, nested, len(members), last)


def _named(member: Member, ahead: int) -> tuple[Naming, int] | None:
    """What a folder's name counts, and how many of them; None for a name that shows neither, and at 0."""
    naming, number = name_of(member.checkpoint.path) or ("save", 0)
    number += ahead if naming == "epoch" else 0
    return None if naming == "save" or not number else (naming, number)


def _rate(count: int, number: int) -> Rate:
    divisor = gcd(count, number)
    return count // divisor, number // divisor


def counts(checkpoint: Checkpoint) -> dict[str, int]:
    """Name of a part -> Adam's steps, or a schedule's position; of a registered object each number under its key."""
    found = {}
    for name in files(checkpoint):
        held = mapping_of(checkpoint.get(name)) if _PART.fullmatch(name) or _CUSTOM.fullmatch(name) else None
        if held is None:
            continue
        if _CUSTOM.fullmatch(name):
            found.update({f"{name}.{key}": integer(value) for key, value in islice(held.items(), _MOST_KEYS)})
        elif name.startswith("optimizer"):
            found[name] = highest_step(held.get("state"))
        else:
            found[name] = integer(held.get("last_epoch"))
    return {name: count for name, count in found.items() if count is not None and count >= 0}


def _kinds(checkpoint: Checkpoint) -> dict[str, str]:
    """Name of a part -> what in it does not change with training."""
    found = {}
    for name in files(checkpoint):
        held = mapping_of(checkpoint.get(name)) if _PART.fullmatch(name) or _MODEL.fullmatch(name) else None
        if held:
            found[name] = _model(held) if _MODEL.fullmatch(name) else _settings(held) or formula_of_state(held)
    return {name: kind for name, kind in found.items() if kind}


def _model(held: Mapping[object, object]) -> str:
    shapes = [(str(key), value.shape, value.dtype) for key, value in held.items() if isinstance(value, TensorRef)]
    return str(hash(tuple(sorted(shapes))))


def _settings(held: Mapping[object, object]) -> str:
    """An optimizer's settings and how many parameters each group has; empty for what is not one."""
    groups = held.get("param_groups")
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        return ""
    plain = (str, int, float, bool, type(None))
    return str(
        [
            (
                len(group.get("params") or ()),
                sorted((str(k), v) for k, v in group.items() if k not in _MOVING and isinstance(v, plain)),
            )
            for group in groups
        ]
    )


def missing_weights(here: Checkpoint, known: Usual) -> Iterator[str]:
    """Weights in folders below that every other folder has; of one other only those without a digit in the name."""
    others = known.folders - 1
    for name, count in known.nested.items():
        settled = others >= ENOUGH or (others == 1 and not re.search(r"\d", name.rpartition("/")[2]))
        if name not in files(here) and count == others and settled:
            yield name


def exchanged(here: Checkpoint, known: Usual) -> Iterator[tuple[str, str]]:
    """Each file with what the other folders have under another name, and that name."""
    own = _kinds(here)
    right = {name: kind for name in own if (kind := _agreed(known.kinds[name], own[name])) is not None}
    for name, kind in own.items():
        if right.get(name, kind) != kind:
            other = next((one for one, its in right.items() if its == kind and right[name] == own.get(one)), None)
            if other is not None:
                yield name, other


def unlike(member: Member, known: Usual, ahead: int) -> Iterator[str]:
    """Files whose settings, or whose keys and types, no other folder has; the last may be of a changed script."""
    named = _named(member, ahead)
    if named is None or named[1] == known.last[named[0]] or dict(exchanged(member.checkpoint, known)):
        return
    for name, kind in _kinds(member.checkpoint).items():
        if _agreed(known.kinds[name], kind) not in (None, kind):
            yield name


def departures(member: Member, known: Usual, ahead: int) -> Iterator[tuple[str, int, int]]:
    """Each count that is of another moment than the folder's name: the file, its count, and the one that is due."""
    named = _named(member, ahead)
    if named is None or named[1] == known.last[named[0]] or SCALER in files(member.checkpoint):
        return  # AMP leaves steps out
    naming, number = named
    alone = not has_several(member.checkpoint) and member.state.optimizer_step is not None
    for name, count in counts(member.checkpoint).items():
        if alone and _PART.fullmatch(name):
            continue
        rate = _agreed(known.rates[naming, name], _rate(count, number))
        is_due = rate is not None and rate[0] and (count or _PART.fullmatch(name))  # others may begin anew in an epoch
        if rate is not None and is_due and count * rate[1] != rate[0] * number and rate[0] * number % rate[1] == 0:
            yield name, count, rate[0] * number // rate[1]


def due_steps(member: Member, known: Usual, ahead: int) -> int | None:
    """The optimizer steps that the number in a folder's name has in the other folders; None where these differ."""
    named, steps = _named(member, ahead), member.state.optimizer_step
    if named is None or not steps:
        return None
    naming, number = named
    rate = _agreed(known.rates.get((naming, OPTIMIZER), Counter()), _rate(steps, number))
    return rate[0] * number // rate[1] or None if rate is not None and rate[0] * number % rate[1] == 0 else None


def _agreed(counted: Counter[Value], own: Value) -> Value | None:
    """What all other folders have, where these are enough."""
    others = counted - Counter([own])
    ((value, count),) = others.items() if len(others) == 1 else [(None, 0)]
    return value if count >= ENOUGH else None
