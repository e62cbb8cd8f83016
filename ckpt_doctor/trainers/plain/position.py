"""The place of a hand-written loop's file in its run: from its siblings, Adam's steps, and what a person gives.

S: Adam's steps. E: the file's label, `epoch` mostly. F: finished epochs, or what else the label counts. L: the
scheduler's `last_epoch`. Each is taken as the loop wrote it; what a repair has changed since is in the file's record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

from ckpt_doctor.inert.lines import ENOUGH, Line
from ckpt_doctor.inert.pairing import shapes_of_moments
from ckpt_doctor.inert.shapes import Optimizer, find
from ckpt_doctor.trainers.plain import families, layout
from ckpt_doctor.trainers.plain.agreement import Agreement, Departure, agreement
from ckpt_doctor.trainers.plain.command import PlainFacts, facts_of
from ckpt_doctor.trainers.plain.label import a, label_slot, noun_of
from ckpt_doctor.trainers.plain.saved import is_stepped_singly, saved_label, saved_position, seen_batches
from ckpt_doctor.trainers.state import formula_of, has_other_rates
from ckpt_doctor.types import Evidence, KeyPath, Member, Run
from ckpt_doctor.types.record import kept, record

_FAMILIES: Mapping[str, tuple[str, str, str]] = {
    "imagenet": ("label", "next", "pytorch/examples imagenet: arch and best_acc1 in the file"),
    "torchvision": ("label+1", "finished", "torchvision's references: args and lr_scheduler in the file"),
    "timm": ("label+1", "finished", "timm's CheckpointSaver: version 2 in the file"),
    "detectron2": ("label+1", "finished", "detectron2's PeriodicCheckpointer: `iteration`, and the file's name"),
    "ignite": ("label", "next", "ignite's Engine.state_dict: iteration and epoch_length in the file"),
    "mmengine": ("label", "next", "mmengine's Runner.save_checkpoint: meta and message_hub in the file"),
    "denoising-diffusion-pytorch": ("label", "next", "its Trainer.save: step, opt, ema and version in the file"),
}
"""Family -> where its script starts, what its label says, and what shows it."""


@record(frozen=True)
class Kin:
    """The files of one model in a folder, and what they show together."""

    members: tuple[Member, ...]
    length: Evidence[Line] | None = None
    """Adam's steps by F."""
    agreed: Agreement = field(default_factory=Agreement)
    """What they agree on."""
    labels: Mapping[Path, int] = field(default_factory=dict)
    """E of each file, as it was when the run was read: a repair in progress changes the file, not its history. Of a
    file whose label alone is of another moment, the one that its loop gives that moment."""
    finished: Mapping[Path, Evidence[int]] = field(default_factory=dict)
    """F of each file in which it is proven."""
    uneven: bool = False
    """Whether the labels tell F, and Adam's steps do not grow with it: then it is proven in none."""
    pace: Line | None = None
    """L by F where it should be; None where none fits the files."""

    @property
    def by_steps(self) -> bool:
        """Whether the label counts steps, by its name."""
        return label_slot(self.members[0]) == "step"

    @cached_property
    def off_rates(self) -> frozenset[Path]:
        """The files whose optimizer has other rates than its scheduler set last."""
        return frozenset(member.checkpoint.path for member in self.members if has_other_rates(member))

    @cached_property
    def place(self) -> KeyPath | None:
        """Where most files have the schedule; None where fewer than three have it at one place."""
        found = Counter(member.path("scheduler") for member in self.members if member.has("scheduler")).most_common(1)
        return found[0][0] if found and found[0][1] >= ENOUGH else None

    @cached_property
    def formula(self) -> str:
        """What the schedules of most files are computed from; empty where fewer than three are alike."""
        found = Counter(filter(None, map(formula_of, self.members))).most_common(1)
        return found[0][0] if found and found[0][1] >= ENOUGH else ""

    @cached_property
    def stalled(self) -> frozenset[Path]:
        """The files between which an optimizer makes no steps, or fewer than none, where it makes no even number.

        One that has not begun does not count."""
        made = sorted(
            (self.labels[path], steps, path)
            for member in self.members
            if (steps := member.state.optimizer_step) and (path := member.checkpoint.path) in self.labels
        )
        pairs = [] if self.agreed.length is not None else pairwise(made)
        return frozenset(
            file[2] for one, other in pairs if one[0] < other[0] and one[1] >= other[1] for file in (one, other)
        )

    @cached_property
    def moments(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the moments in most files; empty where fewer than three are alike."""
        found = Counter(filter(None, map(shapes_of, self.members))).most_common(1)
        return found[0][0] if found and found[0][1] >= ENOUGH else ()

    @property
    def unit(self) -> Literal["step", "epoch"]:
        """What one step of the scheduler belongs to."""
        return "epoch" if self.pace is None or self.pace.each == self.pace.over else "step"


@record(frozen=True)
class Reading:
    """What `epoch` means: where the script starts with it, and whether it names the finished epoch or the next."""

    resume: Evidence[str] | None = None
    label: Evidence[str] | None = None


@record(frozen=True)
class Standing:
    """What its siblings and a person tell of a file, as one of its optimizers sees it."""

    kin: Kin
    """The file's siblings, itself among them."""
    label: int | None
    """E."""
    finished: Evidence[int] | None
    """F, where Adam's steps and the length of an epoch prove it, or the label does."""
    departure: Departure | None
    """What of the file is of another moment than the rest, by its siblings."""
    reading: Reading

    def first_epoch(self, meaning: str) -> int | None:
        """The number that the loop gives its first epoch, 0 or 1; 0 where no count of epochs shows it."""
        if self.finished is None or self.label is None:
            return 0
        first = self.label - self.finished.value + (meaning == "finished")
        return first if first in (0, 1) else None


Key = tuple[Path, KeyPath]
"""A file and where in it an optimizer is."""


def place_of(member: Member) -> Key:
    """The file and the optimizer that a member's slots are of."""
    return member.checkpoint.path, member.path("optimizer")


def standings(members: Sequence[Member], given: PlainFacts) -> dict[Key, Standing]:
    """For each file and optimizer where it stands among its siblings: files with equal parts and shapes of models."""
    forms: dict[frozenset[object], list[Member]] = {}
    for member in members:
        forms.setdefault(layout.form(member), []).append(member)
    kin = [one for siblings in forms.values() for one in _kin([member.optimizers for member in siblings], given)]
    return {place_of(member): _standing(member, one, given) for one in kin for member in one.members}


def _kin(rows: Sequence[tuple[Member, ...]], facts: PlainFacts) -> Iterator[Kin]:
    """The kin of each optimizer of these files. How many epochs are finished holds for the file, whatever shows it."""
    tracks, agreed = [tuple(track) for track in zip(*rows, strict=True)], agreement(rows)
    lengths = [_length(track, one, facts, len(agreed) > 1) for track, one in zip(tracks, agreed, strict=True)]
    labels = {row[0].checkpoint.path: label for row in rows if (label := saved_label(row[0])) is not None}
    for one in agreed:
        for path, departed in one.departures.items():
            if "epoch" in departed.parts and departed.label is not None:
                labels[path] = departed.label
    told = _told(tracks[0], labels, facts, {one.schedule for one in agreed})
    counts = [
        _counted(track, length, one, labels) if length is not None else {**told, **_seen(track, one)}
        for track, length, one in zip(tracks, lengths, agreed, strict=True)
    ]
    uneven = [
        length is None and _is_uneven(track, counted)
        for track, length, counted in zip(tracks, lengths, counts, strict=True)
    ]
    if any(uneven):
        counts = [{} if length is None else counted for length, counted in zip(lengths, counts, strict=True)]
    counted = counts[0] if len(counts) == 1 else _merged(counts, labels)
    after = facts.saved_after_step
    for track, length, one, is_uneven in zip(tracks, lengths, agreed, uneven, strict=True):
        known = [(m, counted[m.checkpoint.path].value) for m in track if m.checkpoint.path in counted]
        paces = {other.value for other in lengths if other is not None}
        paces |= {replace(other.batches, first=0) for other in agreed if other.batches is not None}
        pace = _pace(known, paces)
        if pace is not None and not (after is not None and after.value):
            pace = replace(pace, first=0)
        yield Kin(track, length, one, labels, counted, is_uneven, pace)


def _length(track: Sequence[Member], agreed: Agreement, facts: PlainFacts, several: bool) -> Evidence[Line] | None:
    """Steps of an optimizer for one more of the label. What is given is of one of several optimizers, whichever."""
    if label_slot(track[0]) == "step":
        return agreed.length or _one_by_one(track)
    told = facts.steps_per_epoch
    known = (agreed.length, Evidence(Line(told.value, 0), told.source) if told is not None else None)
    return next(filter(None, known if several else known[::-1]), None)


def _merged(counts: Sequence[Mapping[Path, Evidence[int]]], labels: Mapping[Path, int]) -> dict[Path, Evidence[int]]:
    """F by all optimizers of a file, where those whose steps go with its label agree."""
    found: dict[Path, dict[int, Evidence[int]]] = {}
    for counted in counts:
        for path, done in counted.items():
            if done.value - labels.get(path, done.value) in (0, 1):
                found.setdefault(path, {}).setdefault(done.value, done)
    return {path: next(iter(told.values())) for path, told in found.items() if len(told) == 1}


def _one_by_one(members: Sequence[Member]) -> Evidence[Line] | None:
    """Where the label counts what Adam counts. Mixed precision leaves a step out now and then, so it shows nothing."""
    for member in members:
        label, steps = saved_label(member), member.state.optimizer_step
        if label is None or steps is None or steps - label not in (0, 1) or member.at("scaler"):
            return None
    noun, told = noun_of(members[0]), f"{members[0].state.optimizer_step:,}"
    return Evidence(Line(1, 0), f"Adam's {told} steps in the file of {noun} {saved_label(members[0]):,}")


def _counted(
    members: Iterable[Member], length: Evidence[Line], agreed: Agreement, labels: Mapping[Path, int]
) -> dict[Path, Evidence[int]]:
    """F, where Adam's steps are whole epochs, or the rest of the file shows that they are another moment's."""
    found = {}
    for member in members:
        path, steps = member.checkpoint.path, member.state.optimizer_step
        departed = agreed.departures.get(path)
        if departed is not None and "optimizer" in departed.parts:
            if departed.label is not None and agreed.ahead is not None and departed.label + agreed.ahead > 0:
                found[path] = Evidence(departed.label + agreed.ahead, departed.told)
            continue
        epochs, inside = divmod((steps or 0) * length.value.over, length.value.each)
        is_within = length.value.over > 1 and departed is None and labels.get(path, epochs) - epochs not in (-1, 0)
        if epochs and not inside and not is_within and (departed is None or departed.parts):
            told = per(length.value, noun_of(member))
            found[path] = Evidence(epochs, f"Adam's {steps:,} steps, {told} ({length.source})")
    return found


def per(length: Line, noun: str) -> str:
    """How many are made in an epoch, or in what else the label counts."""
    if length.over > 1:
        return f"{length.each:,} in {length.over:,} {noun}s"
    return "one by one" if noun == "step" and length.each == 1 else f"{length.each:,} {a(noun)}"


def _seen(members: Iterable[Member], agreed: Agreement) -> dict[Path, Evidence[int]]:
    """F, where batch norm has seen whole epochs. An optimizer that counts is asked first."""
    line, found = agreed.batches, dict[Path, Evidence[int]]()
    if line is None:
        return found
    for member in members:
        batches, departed = seen_batches(member), agreed.departures.get(member.checkpoint.path)
        is_sure = departed is None or (departed.parts and "model" not in departed.parts)
        epochs, inside = divmod((batches or 0) * line.over, line.each)
        if is_sure and member.state.optimizer_step is None and epochs and not inside:
            told = f"the {batches:,} batches that batch norm has seen, {per(line, noun_of(member))}"
            found[member.checkpoint.path] = Evidence(epochs, told)
    return found


def _told(
    members: Sequence[Member], labels: Mapping[Path, int], facts: PlainFacts, schedules: Collection[Line | None]
) -> dict[Path, Evidence[int]]:
    """F from the label, where its meaning is given and the loop counts from 0. SGD, for one, counts no steps.

    A schedule that has made as many steps as are then finished shows the same."""
    found: dict[Path, Evidence[int]] = {}
    values = set(labels.values())
    for member in members:
        label, at, meaning = labels.get(member.checkpoint.path), saved_position(member), facts.epoch_label
        known = _FAMILIES.get(families.family(member.checkpoint))
        if meaning is not None:
            first = 0 if meaning.value == "finished" else 1
            from_zero = first in values or Line(1, 1 - first) in schedules  # a loop that counts from 1 has no such
        else:
            meaning, from_zero = (Evidence(*known[1:]), True) if known is not None else (None, False)
        if meaning is None or label is None or not from_zero:
            continue
        epochs = label + (meaning.value == "finished")
        if epochs > 0 and (facts.epoch_label is not None or at is None or at >= epochs):
            source = f"{noun_of(member)} {label} is the {meaning.value} one: {meaning.source}"
            found[member.checkpoint.path] = Evidence(epochs, source)
    return found


def _is_uneven(members: Sequence[Member], counted: Mapping[Path, Evidence[int]]) -> bool:
    """Whether Adam's steps do not grow with F.

    Mixed precision leaves steps out now and then, so of its files a twentieth may be missing."""
    made = [
        steps / counted[m.checkpoint.path].value
        for m in members
        if (steps := m.state.optimizer_step) and m.checkpoint.path in counted
    ]
    least = 0.95 if any(m.at("scaler") for m in members) else 1.0
    return bool(made) and min(made) < least * max(made)


def _pace(counted: Sequence[tuple[Member, int]], lengths: Collection[Line]) -> Line | None:
    """L by F, as it fits the files of a run but for one that may be at fault.

    Once an epoch or with each of Adam's steps, all of them also one short, where each file was saved before the
    scheduler's step. Any other pace, as that of a loop that accumulates gradients, only where all files show it.
    """
    known = [(f, at) for m, f in counted if (at := saved_position(m)) is not None and is_stepped_singly(m)]
    if not known or len(known) < sum(saved_position(m) is not None for m, _ in counted):
        return None
    paces = (Line(1, 0), *sorted(lengths, key=lambda length: length.each / length.over))

    def agreeing(pace: Line) -> int:
        return sum(pace.has(f, at) for f, at in known)

    pace = max((replace(pace, first=-lag * pace.over) for lag in (0, 1) for pace in paces), key=agreeing)
    missed = len(known) - agreeing(pace)
    if missed == 0 or (missed == 1 and len(known) > ENOUGH):
        return pace
    own, rest = divmod(known[0][1], known[0][0])
    several = len({f for f, _ in known}) >= ENOUGH
    return Line(own, 0) if several and own > 0 and not rest and agreeing(Line(own, 0)) == len(known) else None


def optimizer_of(member: Member) -> Optimizer | None:
    """A member's optimizer, by its place."""
    at = member.path("optimizer")
    return next((one for one in find(member.checkpoint).optimizers if one.path == at), None)


def shapes_of(member: Member) -> tuple[tuple[int, ...], ...]:
    """The shapes of the moments of a member's optimizer."""
    optimizer = optimizer_of(member)
    return () if optimizer is None else tuple(shapes_of_moments(optimizer))


# --- one file --------------------------------------------------------------------------------------------------------


def as_read(member: Member, run: Run) -> Member:
    """A file as it was when its run was understood: it may have been read further since, or edited."""
    return _by_path(run)[member.checkpoint.path]


@kept
def _by_path(run: Run) -> dict[Path, Member]:
    return {one.checkpoint.path: one for one in run.members}


def standing(member: Member, run: Run) -> Standing:
    """Where the file stood when the run was read."""
    found = _asked(run).get(id(member))
    if found is None:
        assert isinstance(run.history, dict), "understand() made it"
        found = _asked(run)[id(member)] = run.history[place_of(member)], member
    return found[0]


@kept
def _asked(_run: Run) -> dict[int, tuple[Standing, Member]]:
    """Standings by the id of the member, which is kept along: forty rules ask, and a path takes long to hash."""
    return {}


def _standing(member: Member, kin: Kin, facts: PlainFacts) -> Standing:
    path = member.checkpoint.path
    label, done = kin.labels.get(path), kin.finished.get(path)
    reading = _reading(families.family(member.checkpoint), label, done, facts)
    return Standing(kin, label, done, kin.agreed.departures.get(path), reading)


def _reading(family: str, label: int | None, done: Evidence[int] | None, facts: PlainFacts) -> Reading:
    """What `epoch` means: as told, else as the file's family has it, else as the count of epochs shows."""
    ahead = None if done is None or label is None else done.value - label
    resume, meaning = facts.resume_epoch, facts.epoch_label
    known = _FAMILIES.get(family)
    if known is not None and ahead in (None, int(known[1] == "finished")):
        resume = resume or Evidence(known[0], known[2])
        meaning = meaning or Evidence(known[1], known[2])
    if meaning is None and done is not None and ahead == 1:
        meaning = Evidence("finished", done.source)
    if meaning is None and done is not None and ahead == 0 and resume is not None and resume.value == "label":
        meaning = Evidence("next", done.source)  # the other reading, a loop that counts from 1, would not start there
    return Reading(resume, meaning)


def contradictions(run: Run) -> Iterator[tuple[str, str]]:
    """Given facts that the files rule out: name of the fact, and what speaks against it."""
    facts = facts_of(run)
    told, length = facts.epoch_label, facts.steps_per_epoch
    for member in run.members:
        here = standing(member, run)
        done = here.finished
        if told is not None and done is not None and here.first_epoch(told.value) is None:
            noun = noun_of(member)
            yield (
                "epoch_label",
                f"{noun} {here.label} in {member.label} cannot be the {told.value} one ({told.source}): "
                f"{done.value} {noun}s are finished ({done.source})",
            )
            return
    kin: Iterable[Kin] = (one.kin for one in run.history.values())  # type: ignore[attr-defined]
    shown = {one.agreed.length.value.each: one.agreed.length for one in kin if one.agreed.length and not one.by_steps}
    if length is not None and shown and length.value not in shown:
        given = f"{length.value:,} steps per epoch ({length.source})"
        value, other = next(iter(shown.items()))
        yield "steps_per_epoch", f"{given} against {value:,}: {other.source}"
