"""What the files of one run agree on, and what departs from it in a single file.

A loop counts in several places: its label (`epoch`, mostly), Adam's steps, the scheduler's position, the batches that
batch norm has seen, the number in the file's name. All of them grow evenly from file to file, so a part that is of
another moment shows, and which part it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Literal

from ckpt_doctor.inert.lines import ENOUGH, Line, line_through, odd_one_within
from ckpt_doctor.inert.shapes import find
from ckpt_doctor.trainers.copied import Copied, copied
from ckpt_doctor.trainers.plain.label import (
    counts_in,
    has_counts,
    is_in_the_file,
    key_of,
    label_slot,
    noun_of,
)
from ckpt_doctor.trainers.plain.layout import has_several, own_schedule
from ckpt_doctor.trainers.plain.saved import (
    is_stepped_singly,
    name_form,
    numbers_in,
    saved_label,
    saved_position,
    seen_batches,
)
from ckpt_doctor.trainers.state import as_written, integer
from ckpt_doctor.types import Checkpoint, Edit, Evidence, KeyPath, Member, Places, dotted, real
from ckpt_doctor.types.record import kept, record

What = Literal["epoch", "optimizer", "schedule", "model", "name", "count"]


@record(frozen=True)
class Departure:
    """What of a file is of another moment than the rest of it."""

    parts: frozenset[What]
    """Empty where the parts disagree and no majority shows which are right."""
    label: int | None
    """The label of the moment that the rest is of; None where no label shows it, but a count of steps."""
    told: str
    """What each part says, in a clause."""
    counts: Mapping[KeyPath, int] = field(default_factory=dict)
    """Further counts that are of another moment, and what each is in the rest's."""

    def corrections(self, checkpoint: Checkpoint) -> list[Edit]:
        """What would put right those of them that no repair has."""
        held = {path: checkpoint.get(*path) for path in self.counts}
        return [Edit(path, now, self.counts[path], self.told) for path, now in held.items() if now != self.counts[path]]


@record(frozen=True)
class Agreement:
    """What the files of one run have in common."""

    length: Evidence[Line] | None = None
    """Adam's steps by finished epochs."""
    ahead: int | None = None
    """Finished epochs less the label, 0 or 1."""
    schedule: Line | None = None
    """The scheduler's position by the label."""
    batches: Line | None = None
    """The batches that the model's batch norm has seen, by the label, where they begin with the first epoch."""
    departures: Mapping[Path, Departure] = field(default_factory=dict)
    twins: Mapping[Path, Copied] = field(default_factory=dict)
    """Files that share a part with another label's, where nothing shows which of them it is of."""


def uncured(member: Member, departed: Departure) -> frozenset[What]:
    """The parts of a file that no repair brings to another moment: a schedule only where its class is torch's."""
    is_cured = member.has("scheduler") and departed.label is not None
    return frozenset({"optimizer", "model"} if is_cured else {"optimizer", "model", "schedule"})


# --- the lines -------------------------------------------------------------------------------------------------------

Told = tuple[What, int]
"""What counts, and of which optimizer it is; 0 for what the file has once."""


def agreement(rows: Sequence[tuple[Member, ...]]) -> list[Agreement]:
    """What the files of one run agree on, for each of their optimizers; a row is a file as each optimizer sees it.

    Adam's steps are trusted where they begin with the first epoch."""
    labelled = [(row, label) for row in rows if (label := saved_label(row[0])) is not None]
    lines: dict[Told, Line | None] = {}
    found: list[Agreement] = []
    for at in range(len(rows[0])):
        one = [(row[at], label) for row, label in labelled]
        steps, ahead = _from_the_first(_line(one, lambda member: member.state.optimizer_step))
        batches = _line(one, seen_batches)
        lines["optimizer", at] = steps
        lines["schedule", at] = _line(one, _position)
        lines["model", at] = batches
        found.append(Agreement(_length(steps, one), ahead, lines["schedule", at], _from_the_first(batches)[0]))
    further = _count_lines([(row[0], label) for row, label in labelled])
    names = _name_lines([(row[0], label) for row, label in labelled])
    if _drifts(labelled, lines, names):
        return [Agreement(departures=one) for one in _by_steps(rows)]
    departed = {
        row[0].checkpoint.path: departures
        for row, label in labelled
        if (departures := _departures(row, label, lines, names.get(name_form(row[0].checkpoint)), further))
    }
    by_epochs = bool(labelled) and label_slot(labelled[0][0][0]) == "epoch"
    is_uneven = not any(lines.values()) and by_epochs
    by_steps = _by_steps(rows) if is_uneven else [{} for _ in found]
    is_open = by_epochs and lines["optimizer", 0] is None
    others = _besides([(row[0], label) for row, label in labelled], further, is_open)
    for at, agreed in enumerate(found):
        own = others | by_steps[at] | {path: by[at] for path, by in departed.items() if at in by}
        found[at] = _with_twins(replace(agreed, departures=own), copied([(row[at], label) for row, label in labelled]))
    return found


def _by_steps(rows: Sequence[tuple[Member, ...]]) -> list[dict[Path, Departure]]:
    """What departs in files that count steps, where no count grows with the epochs that they are labelled with.

    A loop that saves every so many steps has an epoch's number several times, or leaves it out."""
    steps = [find(row[0].checkpoint).steps for row in rows]
    if any(len(counts) != 1 for counts in steps):
        return [{} for _ in rows[0]]
    places = [{"step": counts[0].path} for counts in steps]
    moved = [tuple(_labelled_at(member, place) for member in row) for row, place in zip(rows, places, strict=True)]
    counts = {row[0].checkpoint.path: place["step"] for row, place in zip(rows, places, strict=True)}
    found = [
        {path: _without_label(one, counts[path]) for path, one in agreed.departures.items() if one.label is not None}
        for agreed in agreement(moved)
    ]
    return [{path: one for path, one in departed.items() if one.parts} for departed in found]


def _besides(
    labelled: Sequence[tuple[Member, int]], known: Collection[KeyPath], is_open: bool
) -> dict[Path, Departure]:
    """What departs in one file between others that were saved within epochs, or at the ends of uneven ones.

    Counts that do not grow evenly with the label are held against the steps: further steps one by one, epochs by their
    length, whatever that is; the label as well where it `is_open`. Mixed precision leaves steps out now and then."""
    made = [(steps, label, member) for member, label in labelled if (steps := _steps_of(member)) is not None]
    made.sort(key=lambda one: one[:2])
    if len(made) <= ENOUGH or any(member.at("scaler") for _, _, member in made):
        return {}
    counts = [_further_counts(member) for *_, member in made]
    found: dict[Path, Departure] = {}
    for path in counts[0].keys() - known:
        held = [(steps, one[path]) for (steps, *_), one in zip(made, counts, strict=True) if path in one]
        if (odd := _odd_count(held)) is not None and len(held) == len(made):
            at, due = odd
            steps, _, member = made[at]
            told = f"{dotted(path)} is {held[at][1]:,}, and {_shown_steps(member, steps)} go with {due:,}"
            found[member.checkpoint.path] = Departure(frozenset({"count"}), None, told, {path: due})
    if is_open and (odd := _odd_count([(steps, label) for steps, label, _ in made])) is not None:
        steps, label, member = made[odd[0]]
        told = f"{key_of(member)} is {label:,}, and {_shown_steps(member, steps)} are in {noun_of(member)} {odd[1]:,}"
        found[member.checkpoint.path] = Departure(frozenset({"epoch"}), odd[1], told)
    return found


def _odd_count(counted: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Steps and a count -> the place of the only one that does not go with the others, and what does; not at an end."""
    if (line := line_through(counted)) is not None:
        off = [(at, line.at(steps)) for at, (steps, count) in enumerate(counted) if not line.has(steps, count)]
        odd = off[0] if len(off) == 1 else None
    else:
        odd = odd_one_within(counted)
    return odd if odd is not None and 0 < odd[0] < len(counted) - 1 else None


def _steps_of(member: Member) -> int | None:
    """Adam's steps, or the only count of steps in the file."""
    held = find(member.checkpoint).steps
    own = member.state.optimizer_step
    told = as_written(member.checkpoint, held[0].path, held[0].value) if own is None and len(held) == 1 else own
    return integer(real(told))


def _shown_steps(member: Member, steps: int) -> str:
    return f"Adam's {steps:,} steps" if member.state.optimizer_step is not None else f"{steps:,} steps"


def _labelled_at(member: Member, place: Places) -> Member:
    """A member with another label."""
    return replace(member, places={**{slot: at for slot, at in member.places.items() if slot != "epoch"}, **place})


def _without_label(departed: Departure, count: KeyPath) -> Departure:
    """A departure by a count of steps, which is no label of the file; that of epochs, the only other, goes unevenly."""
    parts, at = departed.parts - {"epoch", "count"}, departed.label
    if "epoch" not in departed.parts or at is None:
        return Departure(parts, None, departed.told)
    return Departure(parts | {"count"}, None, departed.told, {count: at})


def _line(labelled: Sequence[tuple[Member, int]], count: Callable[[Member], int | None]) -> Line | None:
    """What is counted, by the label. Of steps a label may count several that an optimizer makes one of."""
    whole = not labelled or label_slot(labelled[0][0]) == "epoch"
    return line_through(((label, count(member)) for member, label in labelled), whole)


def _from_the_first(line: Line | None) -> tuple[Line | None, int | None]:
    """A count that begins with the first epoch, and how many epochs it has finished more than the label says."""
    ahead = None if line is None or line.first % line.each else line.first // line.each
    return (line, ahead) if ahead in (0, 1) else (None, None)


def _with_twins(agreed: Agreement, found: Mapping[Path, Copied]) -> Agreement:
    """With the parts that two files share. Where one's schedule is of another moment, its optimizer is as well."""
    departures = dict(agreed.departures)
    for path, one in found.items():
        departed = departures.get(path)
        if (
            one.part == "optimizer"
            and departed is not None
            and departed.parts & {"schedule", "optimizer"} == {"schedule"}
        ):
            told = f"{departed.told}, and {one.told}"
            departures[path] = replace(departed, parts=departed.parts | {"optimizer"}, told=told)
    settled = {path for path, one in departures.items() if not one.parts or {"optimizer", "model"} & one.parts}
    open_ones = {path: one for path, one in found.items() if settled.isdisjoint(one.group)}
    return replace(agreed, departures=departures, twins=open_ones)


def _drifts(
    labelled: Sequence[tuple[tuple[Member, ...], int]],
    lines: Mapping[Told, Line | None],
    names: Mapping[str, tuple[int, Line]],
) -> bool:
    """Whether the last label is one off, in files that count steps as well and were saved by these.

    Of epochs nearly as long as the way from save to save a label is left out, or comes twice, now and then. Names or
    schedules that go by epochs show that it is not so."""
    by_epochs = any(line.each == 1 for _, line in names.values()) or any(
        line is not None and line.each == 1 for (what, _), line in lines.items() if what == "schedule"
    )
    row, label = max(labelled, key=lambda one: (one[1], one[0][0].state.optimizer_step or 0), default=((), 0))
    if by_epochs or not row or label_slot(row[0]) == "step" or not find(row[0].checkpoint).steps:
        return False
    counted = [(lines["optimizer", at], member.state.optimizer_step) for at, member in enumerate(row)]
    return any(line is not None and made is not None and abs(line.epoch(made) - label) == 1 for line, made in counted)


def _length(steps: Line | None, labelled: Sequence[tuple[Member, int]]) -> Evidence[Line] | None:
    if steps is None:
        return None
    told = ((label, member.state.optimizer_step) for member, label in labelled)
    points = sorted({(label, made) for label, made in told if made is not None and steps.has(label, made)})
    (e0, s0), (e1, s1) = points[:2]
    noun = noun_of(labelled[0][0])
    return Evidence(
        replace(steps, first=0), f"Adam's steps in {len(points)} files: {s0:,} at {noun} {e0}, {s1:,} at {noun} {e1}"
    )


def _position(member: Member) -> int | None:
    """The steps that the schedule has made."""
    if member.has("scheduler"):
        return saved_position(member) if is_stepped_singly(member) else None
    own = own_schedule(member.checkpoint) if member.further or not has_several(member.checkpoint) else None
    counts = [state[key] for state in own[1] for key in _STEPS if key in state] if own is not None else []
    return integer(counts[0]) if counts else None


_STEPS = ("last_epoch", "last_step", "step_num", "num_updates", "_step_num", "current_step", "_step", "n_steps")
"""Under which keys schedules of a script's own count, of which mmengine's has the second."""


def _count_lines(labelled: Sequence[tuple[Member, int]]) -> dict[KeyPath, Line]:
    """Counts beside the label that grow with it. One that a script begins anew now and then (of epochs without a better
    score) falls back, and is none of them."""
    found: dict[KeyPath, list[tuple[int, int]]] = {}
    for member, label in labelled:
        for path, count in _further_counts(member).items():
            found.setdefault(path, []).append((label, count))
    whole = not labelled or label_slot(labelled[0][0]) == "epoch" or not has_counts(labelled[0][0].checkpoint)
    lines = {path: line_through(points, whole) for path, points in found.items()}
    return {path: line for path, line in lines.items() if line is not None and _never_falls(sorted(found[path]), line)}


def _never_falls(points: Sequence[tuple[int, int]], line: Line) -> bool:
    """Whether a count does not fall, but for one file between others."""
    return all(line.has(*one) for one in (points[0], points[-1])) or points == sorted(points, key=lambda one: one[1])


@kept
def _further_counts(member: Member) -> dict[KeyPath, int]:
    """Counts of epochs and steps that are not the label, as the loop wrote them."""
    own = member.path(label_slot(member))
    paths = [path for path in counts_in(member.checkpoint) if path != own]
    counts = {path: as_written(member.checkpoint, path, member.checkpoint.get(*path)) for path in paths}
    return {path: count for path, value in counts.items() if (count := integer(real(value))) is not None}


# --- names -----------------------------------------------------------------------------------------------------------


def _name_lines(labelled: Sequence[tuple[Member, int]]) -> dict[str, tuple[int, Line]]:
    """For names that are alike, which of their numbers goes with the label, and how."""
    forms: dict[str, list[tuple[Member, int]]] = {}
    for member, label in labelled:
        forms.setdefault(name_form(member.checkpoint), []).append((member, label))
    found = {}
    for form, alike in forms.items():
        for at in range(form.count("\0")):
            if (
                line := line_through((label, numbers_in(member.checkpoint)[at]) for member, label in alike)
            ) is not None:
                found[form] = (at, line)
                break
    return found


# --- one file --------------------------------------------------------------------------------------------------------


def _departures(
    row: tuple[Member, ...],
    label: int,
    lines: Mapping[Told, Line | None],
    name: tuple[int, Line] | None,
    further: Mapping[KeyPath, Line],
) -> dict[int, Departure]:
    """For each optimizer that it concerns, what of a file is not of the moment that the rest of it is.

    None where all is, or it lies within an epoch."""
    told = dict(_told(row, label, lines, name))
    counted = {path: count for path, count in _further_counts(row[0]).items() if path in further}
    told |= {("count", at): further[path].epoch(count) for at, (path, count) in enumerate(counted.items())}
    steps = [of for (what, _), of in told.items() if what in ("optimizer", "model")]
    steps = steps or [of for (what, _), of in told.items() if what == "count"]
    if any(not of.is_integer() and abs(of - label) < 1 for of in steps):
        return {}
    votes = Counter(told.values())
    if len(votes) < 2:
        return {}
    if len(told) == 2 and not steps:  # which of the two is wrong is open
        of = told.get(("name", 0))
        clause = "" if of is None else f"{_says(('epoch', 0), row, label, ())}, {_says(('name', 0), row, of, ())}"
        return dict.fromkeys(range(len(row)), Departure(frozenset({"name"}), label, clause)) if clause else {}
    (most, count), (_, other) = votes.most_common(2)
    named = [f"{dotted(path)} {count:,}" for path, count in counted.items()]
    clause = ", ".join(_says(key, row, of, named) for key, of in told.items())
    is_elsewhere = most not in (label, told.get(("name", 0), most))  # by label and name, however many optimizers
    if count == other or not most.is_integer() or is_elsewhere:
        return dict.fromkeys(range(len(row)), Departure(frozenset(), None, clause))
    odd = [key for key, of in told.items() if of != most]
    whole = frozenset(what for what, _ in odd if what in ("epoch", "name", "count"))
    counts = {path: further[path].at(int(most)) for at, path in enumerate(counted) if ("count", at) in odd}
    parts = {at: whole | {what for what, of in odd if of == at} for at in range(len(row))}
    return {at: Departure(held, int(most), clause, counts) for at, held in parts.items() if held}


def _told(
    row: tuple[Member, ...], label: int, lines: Mapping[Told, Line | None], name: tuple[int, Line] | None
) -> Iterator[tuple[Told, float]]:
    """Part -> the label that it goes with.

    A schedule that has made as many steps as Adam is of its moment: mixed precision may leave both out."""
    yield ("epoch", 0), float(label)
    for at, member in enumerate(row):
        counted: dict[What, int | None] = {
            "optimizer": member.state.optimizer_step,
            "schedule": _position(member),
            "model": seen_batches(member),
        }
        for what, count in counted.items():
            line = lines[what, at]
            goes_with_adam = (
                what == "schedule" and lines["optimizer", at] is None and count == member.state.optimizer_step
            )
            if line is not None and count is not None and not goes_with_adam:
                is_within = line.over > 1 and line.at(label) == count  # batches whose gradients are being gathered
                yield (what, at), float(label) if is_within else line.epoch(count)
    if name is not None and is_in_the_file(row[0]):
        at, line = name
        yield ("name", 0), line.epoch(numbers_in(row[0].checkpoint)[at])


def _says(key: Told, row: tuple[Member, ...], label: float, counts: Sequence[str]) -> str:
    """`Adam's 16 steps are those of epoch 3`."""
    what, at = key
    member, several, noun = row[at if at < len(row) else 0], len(row) > 1, noun_of(row[0])
    if what == "epoch":
        return f"{key_of(member)} is {label:g}"
    if what == "count":
        return f"{counts[at]} is that of {noun} {label:g}"
    if what == "name":
        return f"the name is that of {noun} {label:g}"
    if what == "optimizer":
        which = f" in {dotted(member.path('optimizer'))}" if several else ""
        return f"Adam's {member.state.optimizer_step:,} steps{which} are those of {noun} {label:g}"
    if what == "model":
        which = f" in {dotted(member.path('model'))}" if several else ""
        return f"the {seen_batches(member):,} batches that batch norm has seen{which} are those of {noun} {label:g}"
    which = f" in {dotted(member.path('scheduler'))}" if several and member.has("scheduler") else ""
    return f"the scheduler's position {_position(member)}{which} is that of {noun} {label:g}"
