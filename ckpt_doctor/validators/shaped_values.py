"""O707 for everyone's files: the ranges of the slots table, wherever an optimizer, scheduler or scaler is found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

from ckpt_doctor.inert.shapes import Mapped, Optimizer, Shapes
from ckpt_doctor.types import Case, KeyPath, NotChecked, TensorRef, dotted, real
from ckpt_doctor.validators.contents import and_more, unusable
from ckpt_doctor.validators.rule import Problem
from ckpt_doctor.validators.shaped import own_shapes
from ckpt_doctor.validators.slot_kinds import Eps, Number
from ckpt_doctor.validators.slots import SLOTS, Held, Known, Slot, looked_up

_POSITION = "scheduler.last_epoch"
_SLOTS = (
    *(slot for slot in SLOTS if slot.name != _POSITION),
    # `step(epoch + batch / batches)` leaves a fraction
    *(replace(slot, must=Number("a number, -1 or more", low=-1)) for slot in SLOTS if slot.name == _POSITION),
)
MOST_BETAS = 8
_ROUNDING = 1e-9
"""A rate that a schedule brings down to 0 may come out below it by this much."""


def invalid_values(case: Case) -> Iterator[Problem | NotChecked]:
    """Numbers that the constructors of torch's optimizers, schedulers and scalers refuse and load_state_dict takes.

    Types are not judged here, nor what only one of torch's classes asks of a name that others use as well.
    """
    unread: list[KeyPath] = []
    for slot, held in _slots(own_shapes(case)):
        wrong = [(fault, where, value) for where, value in held if (fault := slot.must.fault(value))]
        found = [(where, value) for fault, where, value in wrong if fault == "value" and not _is_rounded(value)]
        if found:
            yield unusable(*found[0], slot.must.says, slot.otherwise, len(found), slot.severity)
        unread += [where for fault, where, value in wrong if fault == "unread" and isinstance(value, TensorRef)]
    if unread:
        what = dotted(unread[0]) + and_more(len(unread))
        yield NotChecked(what, "the bytes of the tensor were not read", "another copy of the file")


def _slots(shapes: Shapes) -> Iterator[tuple[Slot, Held]]:
    """Slots, and where they are with what is there."""
    for optimizer in shapes.optimizers:
        state = {index: entry for index, entry in optimizer.state.items() if isinstance(entry, dict)}
        groups = _groups(optimizer)
        named = set[object]().union(*groups.values())
        slots = [
            slot for slot in _of("optimizer", "foreign", "other") if slot.parts[1] == "state" or slot.parts[3] in named
        ]
        yield from _held({"param_groups": groups, "state": state}, optimizer.path, slots)
    for scheduler in shapes.schedulers:
        if not scheduler.is_plateau and "_schedulers" not in scheduler.state:
            yield from _held(scheduler.state, scheduler.path, _of("scheduler", "moving", scheduler.kind))
    for scaler in shapes.scalers:
        yield from _held(scaler.value, scaler.path, _of("scaler"))


def _held(root: Mapped, path: KeyPath, slots: Iterable[Slot]) -> Iterator[tuple[Slot, Held]]:
    known: Known = {(): [(path, root)]}
    return ((slot, looked_up(slot.parts[1:], known)) for slot in slots)


def _groups(optimizer: Optimizer) -> dict[int, Mapped]:
    """The groups, each once and without betas by the thousand, which would be looked at once for every group."""
    groups = optimizer.distinct_groups
    long = {i for i, g in groups.items() if isinstance(b := g.get("betas"), (list, tuple)) and len(b) > MOST_BETAS}
    return {i: {**group, "betas": None} if i in long else group for i, group in groups.items()}


@cache
def _of(part: str, *conditions: str) -> tuple[Slot, ...]:
    return tuple(
        slot
        for slot in _SLOTS
        if slot.parts[0] == part and isinstance(slot.must, (Number, Eps)) and slot.when in ("", *conditions)
    )


def _is_rounded(value: object) -> bool:
    number = real(value)
    return number is not None and -_ROUNDING < number < 0
