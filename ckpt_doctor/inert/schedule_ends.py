"""Where a scheduler's steps raise: OneCycleLR knows how many it has, alone and inside of other schedulers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ckpt_doctor.inert.scheduler_kinds import scheduler_kind
from ckpt_doctor.inert.shapes import Mapped
from ckpt_doctor.types import KeyPath, mapping_of, real
from ckpt_doctor.types.record import record

MOST_MEMBERS = 64
"""Schedulers of one that are looked at."""


@record(frozen=True)
class End:
    """The scheduler whose step will raise, if its owner is stepped on."""

    steps_left: int
    """Steps of the outermost scheduler that still can be made."""
    path: KeyPath
    """Below the outermost one's state."""
    last_epoch: int
    total_steps: int

    def below(self, *path: str | int) -> End:
        """The same, seen from further above."""
        return replace(self, path=(*path, *self.path))


def stepped_next(state: Mapped) -> Iterator[tuple[KeyPath, Mapped]]:
    """The schedulers that the next step moves on: the state itself, or those inside of it that it passes the step to.

    A scheduler inside of a SequentialLR that begins anew with that step is left out.
    """
    seen: set[int] = set()  # a pickle can name one object a million times
    waiting: list[tuple[KeyPath, Mapped]] = [((), state)]
    while waiting:
        path, state = waiting.pop()
        members = _members(state)
        if id(state) in seen:
            continue
        seen.add(id(state))
        if members is None:
            yield path, state
        for index in _active(state, members or ()):
            waiting.append(((*path, "_schedulers", index), (members or ())[index]))


def _active(state: Mapped, members: Sequence[Mapped]) -> Sequence[int]:
    if "_milestones" not in state:
        return range(len(members))
    milestones = _milestones(state, len(members))
    step = int(real(state.get("last_epoch")) or 0) + 1
    return () if milestones is None or step in milestones else (bisect_right(milestones, step),)


def end_of(state: Mapped) -> End | None:
    """The first OneCycleLR that runs out of steps; None where none does, or the values do not tell."""
    return _end(state, {})


def _end(state: Mapped, known: dict[int, End | None]) -> End | None:
    if id(state) in known:
        return known[id(state)]
    known[id(state)] = None  # what holds itself has no end
    if len(known) <= MOST_MEMBERS:
        known[id(state)] = _found(state, known)
    return known[id(state)]


def _found(state: Mapped, known: dict[int, End | None]) -> End | None:
    members = _members(state)
    if members is None:
        last, total = real(state.get("last_epoch")), real(state.get("total_steps"))
        if scheduler_kind(state) != "OneCycleLR" or last is None or total is None or total < 1:
            return None
        return End(max(0, int(total - last)), (), int(last), int(total))
    ends = [(end := _end(member, known)) and end.below("_schedulers", index) for index, member in enumerate(members)]
    if "_milestones" not in state:
        return min((end for end in ends if end is not None), key=lambda end: end.steps_left, default=None)
    milestones = _milestones(state, len(members))
    return None if milestones is None or not members else _first(state, milestones, ends)


def _first(state: Mapped, milestones: list[int], ends: list[End | None]) -> End | None:
    """torch/optim/lr_scheduler.py, `SequentialLR.step`: at its milestone a scheduler is put at 0, then it goes on."""
    last = int(real(state.get("last_epoch")) or 0)
    for index in range(bisect_right(milestones, last), len(ends)):
        end, begins = ends[index], milestones[index - 1] if index else 0
        if end is None:
            continue
        has = end.steps_left if begins <= last else begins - last + end.total_steps
        if index == len(milestones) or last + has < milestones[index] - 1:
            return End(has, end.path, end.last_epoch, end.total_steps)
    return None


def _members(state: Mapped) -> list[Mapped] | None:
    """The states in `_schedulers`; None where the state is a single scheduler's, none where they are not usable."""
    held: Any = state.get("_schedulers")
    if not isinstance(held, (list, tuple)):
        return None
    members: list[Mapped] = [member for one in held[:MOST_MEMBERS] if (member := mapping_of(one)) is not None]
    return members if len(members) == len(held) else []


def _milestones(state: Mapped, members: int) -> list[int] | None:
    held: Any = state.get("_milestones")
    numbers = [real(one) for one in held] if isinstance(held, (list, tuple)) and len(held) == members - 1 else [None]
    known = [int(number) for number in numbers if number is not None and number == number // 1]
    in_order = len(known) == len(numbers) and known == sorted(known) and real(state.get("last_epoch")) is not None
    return known if in_order else None
