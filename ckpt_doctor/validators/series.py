"""What the names and the stored checksums of a run's checkpoints show of each other, whoever wrote them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from pathlib import Path

from ckpt_doctor.inert.moments import OF_A_RUN, ROLE_NUMBER, moment_of, number_of, numbers_in, role_of
from ckpt_doctor.inert.shapes import find
from ckpt_doctor.inert.tree import same
from ckpt_doctor.types import Case, Checkpoint, Member, Run
from ckpt_doctor.types.record import kept, once, record
from ckpt_doctor.validators.rule import Problem

_SERIES = 3
"""Of two checkpoints nobody knows what a run of them looks like."""
_MOST_ROLES = 32
"""Names that differ by more than their numbers, or by the rank in them."""
_MOMENTS = re.compile(r"optim|exp_avg", re.IGNORECASE)
_ALIKE = 1.25
"""How far the sizes of a rank's files differ at most while there are as many ranks."""

_UNREADABLE = ("truncated-archive", "missing-record", "malformed-pickle", "empty-file", "not-a-checkpoint")


@record(frozen=True)
class _Copy:
    """What a checkpoint has in common with one of another moment, byte for byte."""

    part: str
    """The file in its folder that holds the optimizer; empty where all of it is the same."""
    original: str


@record(frozen=True)
class _Named:
    name: str
    member: Member


Series = Sequence[_Named]
_Key = tuple[tuple[int, ...], str]


def copied_whole(case: Case) -> Iterator[Problem]:
    """P401: a checkpoint that is another moment's under a name of its own."""
    if (original := original_of(case.run, case.checkpoint.path)) is not None:
        yield Problem(
            f"all of it is byte for byte {original}: it was copied, and is not of the moment that its name says",
            found=original,
            expected=case.checkpoint.path.name,
            severity="info" if case.by_shape and _counts(case) else None,
        )


def _counts(case: Case) -> bool:
    """Whether the file itself says its moment: then a resume does not go by the name."""
    return bool({"epoch", "step"} & case.member.places.keys())


def of_other_saves(case: Case) -> Iterator[Problem]:
    """P409: an optimizer of another moment's folder; a rank's file of another step than those of the other ranks."""
    path = case.checkpoint.path
    copy = _copies(case.run).get(path)
    if copy is not None and copy.part:
        yield Problem(
            f"the optimizer in {copy.part} is byte for byte that of {copy.original}, whose other parts are not these: "
            "it was copied from there",
            where=copy.part,
            found=copy.original,
        )
    counts = once(case.run, "ranks", lambda: dict(_ranks(_series(case.run)))).get(path)
    if counts is not None:
        step, others, other = counts
        yield Problem(
            f"the step is {step:,}, and {others:,} in {other}, another rank's file: they come from different saves",
            where=other,
            found=step,
            expected=others,
        )


def partner_missing(case: Case) -> Iterator[Problem]:
    """F114: a file that lacks the one which all others of its role have beside them."""
    run = case.run
    is_asked = case.by_shape or not run.trainer
    lost = once(run, "lone files", lambda: dict(_lone(run))).get(case.checkpoint.path) if is_asked else None
    if lost is not None:
        yield Problem(
            f"{lost} is not there, or cannot be read, and each other file like this one has one with its number: a "
            "resume takes the other part from another moment, or begins it anew",
            where=lost,
            severity="warning",
        )


def original_of(run: Run, path: Path) -> str | None:
    """The name of the checkpoint of which the one at a path is a copy under another moment's name."""
    copy = _copies(run).get(path)
    return copy.original if copy is not None and not copy.part else None


@kept
def _copies(run: Run) -> Mapping[Path, _Copy]:
    """Path -> the checkpoint of another moment whose content, or whose optimizer, is the same by stored checksums.

    What rests since the first of them is not copied: an average that has not begun, weights that are not trained yet.
    """
    return {path: one for each in _series(run).values() for path, one in _copied(each)}


@kept
def _series(run: Run) -> Mapping[str, Series]:
    """Role -> its checkpoints in the order of their moments. In one folder, or each in a folder of its own."""
    found: dict[str, list[tuple[_Key, _Named]]] = defaultdict(list)
    for member in (*run.members, *run.others):
        path = member.checkpoint.path
        name = path.name if path.parent == run.path else f"{path.parent.name}/{path.name}"
        found[role_of(name)].append(((moment_of(name), name), _Named(name, member)))
    return {role: [one for _, one in sorted(each, key=lambda pair: pair[0])] for role, each in found.items()}


def _copied(series: Series) -> Iterator[tuple[Path, _Copy]]:
    if len(series) < _SERIES:
        return
    for part, held in _optimizers(series).items():
        for first, second in _pairs(held):
            yield second.member.checkpoint.path, _Copy(part, first.name)
    for first, second in _pairs((one, _content(one.member.checkpoint)) for one in series):
        if first is series[0] and not find(first.member.checkpoint).optimizers:
            continue
        if same(first.member.checkpoint.root, second.member.checkpoint.root) is not None:
            continue
        copy, original = (first, second) if _is_named_right(second) else (second, first)
        yield copy.member.checkpoint.path, _Copy("", original.name)


def _optimizers(series: Series) -> Mapping[str, list[tuple[_Named, Hashable]]]:
    """The parts of folders that hold an optimizer, with their content: each step moves its moments."""
    held: dict[str, list[tuple[_Named, Hashable]]] = defaultdict(list)
    for one in series:
        checkpoint = one.member.checkpoint
        optimizers = find(checkpoint).optimizers if checkpoint.parts else ()
        names = {str(optimizer.path[0]) for optimizer in optimizers if any(optimizer.entries)}
        for part in checkpoint.parts:
            name = checkpoint.name_of(part)
            if part.tensors and (name in names or _MOMENTS.search(name)):
                held[name].append((one, _content(part)))
    return held


def _pairs(held: Iterable[tuple[_Named, Hashable]]) -> Iterator[tuple[_Named, _Named]]:
    """Two that hold the same, where a third holds something else."""
    alike: dict[Hashable, list[_Named]] = defaultdict(list)
    for one, content in held:
        if content is not None:
            alike[content].append(one)
    if len(alike) > 1:
        yield from ((one[0], one[1]) for one in alike.values() if len(one) == 2)


def _content(checkpoint: Checkpoint) -> Hashable:
    """What the tensors of a checkpoint hold; None where no checksums say it."""
    files = checkpoint.parts or (checkpoint,)
    sums = tuple(tuple(file.checksums.values()) for file in files if file.metadata.get("checksums") != "none")
    return (checkpoint.size, sums) if any(map(any, sums)) else None


def _is_named_right(one: _Named) -> bool:
    """Whether a checkpoint counts what its name says."""
    number, state = number_of(one.name), one.member.state
    return number is not None and number in (state.global_step, state.epoch, state.optimizer_step)


def _lone(run: Run) -> Iterator[tuple[Path, str]]:
    """Whoever keeps the best alone, or begins to average later, leaves files without others on purpose.

    Of a trainer that is known by the shape of its files only those of several ranks are asked: it has rules for others.
    """
    series = _series(run)
    if len(series) < 2:
        return
    there = {role: {moment_of(one.name): one for one in each if _is_whole(one)} for role, each in series.items()}
    for (role, mine), (other, theirs) in product(there.items(), repeat=2) if len(there) <= _MOST_ROLES else ():
        if len(mine) < _SERIES or len(theirs) != len(mine) - 1 or OF_A_RUN.match(other):
            continue
        if run.trainer and ROLE_NUMBER.sub("#", role) != ROLE_NUMBER.sub("#", other):
            continue
        moments = sorted(mine)
        left = [moment for moment in moments[1:] if moment not in theirs]
        if len(left) != 1 or moments[0] not in theirs:
            continue
        one, before = mine[left[0]], mine[moments[moments.index(left[0]) - 1]]
        small, large = sorted((one.member.checkpoint.size, before.member.checkpoint.size))
        if large <= _ALIKE * small:  # fewer ranks have larger shards
            digits = iter(numbers_in(one.name))
            yield one.member.checkpoint.path, "".join(next(digits, c) if c == "#" else c for c in other)


def _is_whole(one: _Named) -> bool:
    return not one.member.checkpoint.is_damaged(*_UNREADABLE)


def _ranks(series: Mapping[str, Series]) -> Iterator[tuple[Path, tuple[int, int, str]]]:
    """Files of several ranks, whose names differ in the rank alone, with other counts of steps."""
    held: dict[object, list[tuple[_Named, int]]] = defaultdict(list)
    for role, each in series.items():
        for one in each if ROLE_NUMBER.search(role) else ():
            state = one.member.state
            if (step := state.optimizer_step if state.optimizer_step is not None else state.global_step) is not None:
                held[ROLE_NUMBER.sub("#", role), moment_of(one.name)].append((one, step))
    for files in held.values():
        firsts: dict[int, str] = {}
        for one, step in files:
            firsts.setdefault(step, one.name)
        if len(firsts) > 1:
            first, second = islice(firsts.items(), 2)
            for one, step in files:
                yield one.member.checkpoint.path, (step, *(second if step == first[0] else first))
