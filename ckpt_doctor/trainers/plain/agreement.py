"""What the files of one run agree on, and what departs from it in a single file.

A loop counts in several places: its label (`epoch`, mostly), Adam's steps, the scheduler's position, the number in the
file's name. All of them grow evenly from file to file, so a part that is of another moment shows, and which part it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ckpt_doctor.inert.scheduler_kinds import counts, kind_of
from ckpt_doctor.trainers.lines import Line, line_through
from ckpt_doctor.trainers.plain.layout import key_of, label_slot, noun_of
from ckpt_doctor.trainers.state import as_written, integer
from ckpt_doctor.types import Evidence, Member, dotted, mapping_of

What = Literal["epoch", "optimizer", "schedule", "name"]


@dataclass(frozen=True)
class Departure:
    """What of a file is of another moment than the rest of it."""

    parts: frozenset[What]
    """Empty where the parts disagree and no majority shows which are right."""
    label: int | None
    """The label of the moment that the rest is of."""
    told: str
    """What each part says, in a clause."""


@dataclass(frozen=True)
class Agreement:
    """What the files of one run have in common."""

    length: Evidence[int] | None = None
    """Adam's steps in an epoch."""
    ahead: int | None = None
    """Finished epochs less the label, 0 or 1."""
    schedule: Line | None = None
    """The scheduler's position by the label."""
    departures: Mapping[Path, Departure] = field(default_factory=dict)


# --- a file's own counts, as its loop wrote them ---------------------------------------------------------------------


def as_saved(member: Member, slot: str, *path: str | int) -> object:
    """A value as the loop wrote it."""
    return as_written(member.checkpoint, dotted(member.path(slot, *path)), member.at(slot, *path))


def saved_label(member: Member) -> int | None:
    """The label."""
    return integer(as_saved(member, label_slot(member)))


def saved_position(member: Member) -> int | None:
    """The scheduler's `last_epoch`."""
    return integer(as_saved(member, "scheduler", "last_epoch"))


def is_stepped_singly(member: Member) -> bool:
    """Whether nothing in the state shows `step(epoch)`, which sets the position to what the script passes."""
    state = mapping_of(member.at("scheduler")) or {}
    if kind_of(state) == "ReduceLROnPlateau":
        return False
    if "T_cur" in state:
        return isinstance(state["T_cur"], int)
    count = integer(as_saved(member, "scheduler", "_step_count"))
    return not counts(state) or count is None or count == (saved_position(member) or 0) + 1


# --- the lines -------------------------------------------------------------------------------------------------------


def agreement(members: Sequence[Member]) -> Agreement:
    """What the files of one run agree on. Adam's steps are trusted where they begin with the first epoch."""
    labelled = [(member, label) for member in members if (label := saved_label(member)) is not None]
    steps = line_through((label, member.state.optimizer_step) for member, label in labelled)
    ahead = None if steps is None or steps.first % steps.each else steps.first // steps.each
    if ahead not in (0, 1):
        steps = ahead = None
    lines = {"optimizer": steps, "schedule": line_through((label, _position(member)) for member, label in labelled)}
    names = _name_lines(labelled)
    departures = {
        member.checkpoint.path: departure
        for member, label in labelled
        if (departure := _departure(member, label, lines, names.get(_form(member)))) is not None
    }
    return Agreement(_length(steps, labelled), ahead, lines["schedule"], departures)


def _length(steps: Line | None, labelled: Sequence[tuple[Member, int]]) -> Evidence[int] | None:
    if steps is None:
        return None
    told = ((label, member.state.optimizer_step) for member, label in labelled)
    points = sorted({(label, made) for label, made in told if made == steps.at(label)})
    (e0, s0), (e1, s1) = points[:2]
    noun = noun_of(labelled[0][0])
    return Evidence(steps.each, f"Adam's steps in {len(points)} files: {s0:,} at {noun} {e0}, {s1:,} at {noun} {e1}")


def _position(member: Member) -> int | None:
    return saved_position(member) if is_stepped_singly(member) else None


# --- names -----------------------------------------------------------------------------------------------------------


def _form(member: Member) -> str:
    """A name but for its numbers: files that a loop names alike."""
    return re.sub(r"\d{1,18}", "\0", member.checkpoint.path.name)


def _numbers(member: Member) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d{1,18}", member.checkpoint.path.name)]


def _name_lines(labelled: Sequence[tuple[Member, int]]) -> dict[str, tuple[int, Line]]:
    """For names that are alike, which of their numbers goes with the label, and how."""
    forms: dict[str, list[tuple[Member, int]]] = {}
    for member, label in labelled:
        forms.setdefault(_form(member), []).append((member, label))
    found = {}
    for form, alike in forms.items():
        for at in range(form.count("\0")):
            if (line := line_through((label, _numbers(member)[at]) for member, label in alike)) is not None:
                found[form] = (at, line)
                break
    return found


# --- one file --------------------------------------------------------------------------------------------------------


def _departure(
    member: Member, label: int, lines: Mapping[str, Line | None], name: tuple[int, Line] | None
) -> Departure | None:
    """What of a file is not of the moment that the rest of it is; None where all is, or it lies within an epoch."""
    told = dict(_told(member, label, lines, name))
    steps = told.get("optimizer")
    if steps is not None and not steps.is_integer() and abs(steps - label) < 1:
        return None
    votes = Counter(told.values())
    if len(votes) < 2 or (len(told) == 2 and steps is None):
        return None
    (most, count), (_, other) = votes.most_common(2)
    clause = ", ".join(_says(what, member, of) for what, of in told.items())
    if count == other or not most.is_integer():
        return Departure(frozenset(), None, clause)
    return Departure(frozenset(what for what, of in told.items() if of != most), int(most), clause)


def _told(
    member: Member, label: int, lines: Mapping[str, Line | None], name: tuple[int, Line] | None
) -> Iterator[tuple[What, float]]:
    """Part -> the label that it goes with."""
    yield "epoch", float(label)
    counted: dict[What, int | None] = {"optimizer": member.state.optimizer_step, "schedule": _position(member)}
    for what, count in counted.items():
        line = lines[what]
        if line is not None and count is not None:
            yield what, line.epoch(count)
    if name is not None:
        at, line = name
        yield "name", line.epoch(_numbers(member)[at])


def _says(what: What, member: Member, label: float) -> str:
    """`Adam's 16 steps are those of epoch 3`."""
    if what == "epoch":
        return f"{key_of(member)} is {label:g}"
    steps = f"Adam's {member.state.optimizer_step:,} steps are those" if what == "optimizer" else ""
    position = f"the scheduler's position {saved_position(member)} is that" if what == "schedule" else ""
    return f"{steps or position or 'the name is that'} of {noun_of(member)} {label:g}"
