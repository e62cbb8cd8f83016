"""Random states of different steps that are one: copied, unless a loop draws no numbers between its saves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from ckpt_doctor.inert.tree import same
from ckpt_doctor.types import Checkpoint, Member, NotChecked, ResumePlan
from ckpt_doctor.types.record import record
from ckpt_doctor.validators.rule import Problem

Digest = tuple[object, ...]
MOST_GROUPS = 32
"""Sets of checkpoints with one random state that are looked at; where there are more, the loop draws seldom."""
MOST_SECONDS = 2.0
"""How far apart in time the parts of one checkpoint may be written, beside those of which nothing is asked."""


@record(frozen=True)
class Twin:
    """A random state that another checkpoint has, too."""

    part: str
    other: str
    other_part: str
    is_proven: bool
    """Whether saves that are no further apart have different states, so that the loop must have drawn in between."""

    @property
    def problem(self) -> Problem:
        """What is wrong, where it is proven."""
        return Problem(
            f"{self.part} is byte for byte {self.other_part} of {self.other}, and between saves no further apart this "
            "run draws random numbers: it was copied, and shuffling and dropout draw other numbers after the resume",
            where=self.part,
            fix="resume from a checkpoint that has its own random state",
        )

    @property
    def open_point(self) -> NotChecked:
        """What is not known, where it is not."""
        why = f"it is byte for byte {self.other_part} of {self.other}, which is right if nothing was drawn in between"
        return NotChecked(f"whether {self.part} is of this step", why, "the script")


@record(frozen=True)
class _Save:
    member: Member
    step: int
    epochs: int
    """Epochs that had begun."""
    states: Mapping[str, Digest]


def twins(members: Iterable[Member], steps_per_epoch: int | None, is_state: Callable[[str], object]) -> dict[str, Twin]:
    """Label of a checkpoint -> its random state that another one has; `is_state` knows such a part by its name.

    A state may stay the same where a loop draws once an epoch, or never. So two that are one count only where other
    saves of the run, no further apart in steps and epochs, have different ones.
    """
    if not steps_per_epoch:
        return {}
    saves = sorted(
        (
            _Save(member, step, -(-step // steps_per_epoch), dict(_states(member.checkpoint, is_state)))
            for member in members
            if (step := member.state.global_step) is not None
        ),
        key=lambda save: save.step,
    )
    held: dict[Digest, list[tuple[_Save, str]]] = {}
    for save in saves:
        for part, digest in save.states.items():
            held.setdefault(digest, []).append((save, part))
    groups = [alike for group in held.values() if len(alike := _same(group)) > 1]
    return {label: twin for group in groups[:MOST_GROUPS] for label, twin in _of_group(group, groups, saves)}


def _same(group: Sequence[tuple[_Save, str]]) -> list[tuple[_Save, str]]:
    """Those of a group, alike in size and checksums, that hold the same as the first; none where all are of its step.

    The checksums are those of torch's generators; those of Python and numpy are in the pickle.
    """
    (first, part), *_ = group
    if all(save.step == first.step for save, _ in group):
        return []
    state = first.member.checkpoint.get(part)
    return [(save, name) for save, name in group if same(save.member.checkpoint.get(name), state) is None]


def with_open_twin(plan: ResumePlan | None, twin: Twin | None) -> ResumePlan | None:
    """The plan, in which it is open whether a random state is of its step."""
    if plan is None or twin is None or twin.is_proven:
        return plan
    return replace(plan, open=(*plan.open, twin.open_point))


def _states(checkpoint: Checkpoint, is_state: Callable[[str], object]) -> Iterable[tuple[str, Digest]]:
    for part in checkpoint.parts:
        name = checkpoint.name_of(part)
        if is_state(name) and any(part.checksums.values()):
            yield name, (part.size, *sorted(part.checksums.items()))


def _of_group(
    group: Sequence[tuple[_Save, str]], groups: Sequence[Sequence[tuple[_Save, str]]], saves: Sequence[_Save]
) -> Iterable[tuple[str, Twin]]:
    (first, _), (last, _) = group[0], group[-1]
    steps, epochs = last.step - first.step, last.epochs - first.epochs
    inside = {id(save) for save, _ in group}
    pairs = pairwise(save for save in saves if id(save) not in inside)
    drawn = sum(
        after.step - before.step <= steps and after.epochs - before.epochs <= epochs and _differ(before, after)
        for before, after in pairs
    )
    if not drawn and not (epochs and any(_differ(*pair) for pair in pairwise(saves))):
        return  # of epochs a loader begins each with a draw
    others = (g[-1][0].epochs - g[0][0].epochs for g in groups if g is not group)
    places = {save.epochs for save, _ in group} if epochs else {save.step for save, _ in group}
    proven = drawn > 1 and len(places) == 2 and not any(begun >= epochs for begun in others)
    copied = [(save, part) for save, part in group if is_of_another_time(save.member.checkpoint, part)]
    for save, part in copied if 0 < len(copied) < len(group) else group:
        other, name = max(group, key=lambda one: (one[0].epochs != save.epochs, one[0].step != save.step))
        yield save.member.label, Twin(part, other.member.label, name, proven)


def _differ(one: _Save, other: _Save) -> bool:
    return bool(one.states and other.states) and not set(one.states.values()) & set(other.states.values())


def is_of_another_time(checkpoint: Checkpoint, name: str) -> bool:
    """Whether a part was written at another time than all others of its checkpoint."""
    times = {checkpoint.name_of(part): part.stamp.mtime_ns / 1e9 for part in checkpoint.parts if part.stamp is not None}
    own = times.pop(name, None)
    return (
        own is not None
        and bool(times)
        and not (min(times.values()) - MOST_SECONDS <= own <= max(times.values()) + MOST_SECONDS)
    )
