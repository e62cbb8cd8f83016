"""What the names and the stored checksums of a run's checkpoints show of each other, whoever wrote them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from pathlib import Path

from ckpt_doctor.inert.moments import OF_A_RUN, ROLE_NUMBER, moment_of, number_of, numbers_in, role_of
from ckpt_doctor.inert.pairing import covers
from ckpt_doctor.inert.shapes import find
from ckpt_doctor.inert.tree import same
from ckpt_doctor.types import Case, Checkpoint, Member, Run, dotted
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
    is_sure: bool = True
    """Whether it is no model that may have rested between two saves, while another one was trained."""


@record(frozen=True)
class _Named:
    name: str
    member: Member


@record(frozen=True)
class _Misnamed:
    """A count that is another file's, by the line through those of all files named alike."""

    what: str
    count: int
    original: str
    is_only: bool
    """Whether nothing else in the file counts."""


Series = Sequence[_Named]
_Key = tuple[tuple[int, ...], str]


def copied_whole(case: Case) -> Iterator[Problem]:
    """P401: a checkpoint that is another moment's under a name of its own."""
    if (copy := _whole_copy(case.run, case.checkpoint.path)) is not None:
        sure = "it was copied, and is not of the moment that its name says"
        yield Problem(
            f"all of it is byte for byte {copy.original}: "
            + (sure if copy.is_sure else "it was copied, or not trained between the two"),
            found=copy.original,
            expected=case.checkpoint.path.name,
            severity="info" if not copy.is_sure or (case.by_shape and _counts(case)) else None,
        )


def misnamed(case: Case) -> Iterator[Problem]:
    """P401: a file that no trainer owns and whose count is that of another number, by all others named alike."""
    if (found := _misnamed(case.run).get(case.checkpoint.path)) is not None:
        yield Problem(
            f"{found.what} is {found.count:,}, as in {found.original} by the other files named alike: the count or the "
            "name is of another moment",
            where=found.what,
            found=found.count,
            expected=case.checkpoint.path.name,
        )


@kept
def _misnamed(run: Run) -> Mapping[Path, _Misnamed]:
    return {path: one for each in _series(run).values() for path, one in _off_line(each, run)}


def _off_line(series: Series, run: Run) -> Iterator[tuple[Path, _Misnamed]]:
    if len(series) <= _SERIES:
        return
    from ckpt_doctor.inert.lines import line_through  # of a single file nothing shows a line

    held: dict[str, list[tuple[_Named, int]]] = defaultdict(list)
    for one in series:
        if not run.owns(one.member.checkpoint.path) and _is_whole(one):
            for what, count in _counted(one.member):
                held[what].append((one, count))
    numbers = {one.name: moment_of(one.name) for one in series}
    for what, each in held.items():
        for column in range(min(map(len, numbers.values()))):
            line = line_through((numbers[one.name][column], count) for one, count in each)
            odd = [pair for pair in each if not line.has(numbers[pair[0].name][column], pair[1])] if line else []
            named = {numbers[name][column]: name for name in numbers} if odd else {}
            if line is not None and len(odd) == 1 and (other := named.get(int(line.epoch(odd[0][1])))) is not None:
                one, count = odd[0]
                if line.has(numbers[other][column], count):
                    is_only = sum(1 for _ in _counted(one.member)) == 1
                    yield one.member.checkpoint.path, _Misnamed(what, count, other, is_only)
                    return


def _counted(member: Member) -> Iterator[tuple[str, int]]:
    """What counts in a file, by where it is."""
    shapes = find(member.checkpoint)
    for parts in (shapes.epochs, shapes.steps):
        if len(parts) == 1:
            yield dotted(parts[0].path), parts[0].value
    if len(shapes.schedulers) == 1 and isinstance(last := shapes.schedulers[0].state.get("last_epoch"), int):
        yield dotted((*shapes.schedulers[0].path, "last_epoch")), last
    if member.state.optimizer_step is not None:
        yield "Adam's step", member.state.optimizer_step


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
    mixed = once(case.run, "mixed", lambda: dict(_mixed(case.run))).get(path) if _is_asked(case) else None
    if mixed is not None:
        other, original = mixed
        yield Problem(
            f"{other} has this file's number, and is of the save of {original}: a resume from both mixes two saves",
            where=other,
            found=original,
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
    lost = once(run, "lone files", lambda: dict(_lone(run))).get(case.checkpoint.path) if _is_asked(case) else None
    if lost is not None:
        yield Problem(
            f"{lost} is not there, or cannot be read, and each other file like this one has one with its number: a "
            "resume takes the other part from another moment, or begins it anew",
            where=lost,
            severity="warning",
        )


def _is_asked(case: Case) -> bool:
    """Whether nobody but the names says which files go together."""
    return case.run.by_shape or not case.run.trainer


def original_of(run: Run, path: Path) -> str | None:
    """The name of the checkpoint of which the one at a path is a copy under another moment's name."""
    copy = _whole_copy(run, path)
    return copy.original if copy is not None and copy.is_sure else None


def _whole_copy(run: Run, path: Path) -> _Copy | None:
    copy = _copies(run).get(path)
    return copy if copy is not None and not copy.part else None


def _mixed(run: Run) -> Iterator[tuple[Path, tuple[str, str]]]:
    """Files whose number a file of another moment has: path -> that one's name, and the name of its moment."""
    wrong = {path: one.original for path, one in _misnamed(run).items() if one.is_only}
    wrong |= {path: original for path in _copies(run) if (original := original_of(run, path)) is not None}
    named = [(one, moment_of(one.name)) for each in _series(run).values() for one in each] if wrong else []
    found: dict[tuple[int, ...], tuple[str, str]] = {}
    for one, moment in named:
        if moment and (other := wrong.get(one.member.checkpoint.path)) is not None:
            found[moment] = one.name, other
    for one, moment in named:
        if (
            moment in found
            and one.member.checkpoint.path not in wrong
            and not _copies(run).get(one.member.checkpoint.path)
        ):
            yield one.member.checkpoint.path, found[moment]


@kept
def _copies(run: Run) -> Mapping[Path, _Copy]:
    """Path -> the checkpoint of another moment whose content, or whose optimizer, is the same by stored checksums.

    What rests since the first of them is not copied: an average that has not begun, weights that are not trained yet.
    """
    moments: dict[tuple[int, ...], list[_Named]] = defaultdict(list)
    for each in _series(run).values():
        for one in each:
            moments[moment_of(one.name)].append(one)
    return {path: one for each in _series(run).values() for path, one in _copied(each, moments)}


@kept
def _series(run: Run) -> Mapping[str, Series]:
    """Role -> its checkpoints in the order of their moments. In one folder, or each in a folder of its own."""
    found: dict[str, list[tuple[_Key, _Named]]] = defaultdict(list)
    for member in (*run.members, *run.others):
        path = member.checkpoint.path
        name = path.name if path.parent == run.path else f"{path.parent.name}/{path.name}"
        found[role_of(name)].append(((moment_of(name), name), _Named(name, member)))
    return {role: [one for _, one in sorted(each, key=lambda pair: pair[0])] for role, each in found.items()}


def _copied(series: Series, moments: Mapping[tuple[int, ...], Series]) -> Iterator[tuple[Path, _Copy]]:
    if len(series) < _SERIES:
        return
    for part, held in _optimizers(series).items():
        for first, second in _pairs(held):
            yield second.member.checkpoint.path, _Copy(part, first.name)
    places = {id(one): place for place, one in enumerate(series)}
    for first, second in _pairs((one, _content(one.member.checkpoint)) for one in series):
        if first is series[0] and not find(first.member.checkpoint).optimizers:
            continue
        if same(first.member.checkpoint.root, second.member.checkpoint.root) is not None:
            continue
        copy, original = (first, second) if _is_named_right(second) else (second, first)
        is_next = places[id(second)] - places[id(first)] == 1
        is_sure = not (is_next and _may_rest(first, *(moments[moment_of(one.name)] for one in (first, second))))
        yield copy.member.checkpoint.path, _Copy("", original.name, is_sure)


def _may_rest(one: _Named, before: Series, after: Series) -> bool:
    """Whether a model without its optimizer may be the same in the next save: others lie beside it in both, and no
    optimizer among them, of a model that is not in its own file, has moved."""
    if find(one.member.checkpoint).optimizers or min(len(before), len(after)) < 2:
        return False
    moved = {role_of(other.name): _content(other.member.checkpoint) for other in before[:_MOST_ROLES] if _trains(other)}
    return all(
        moved.get(role_of(other.name)) in (None, _content(other.member.checkpoint)) for other in after[:_MOST_ROLES]
    )


def has_optimizer_beside(run: Run, path: Path) -> bool:
    """Whether another file with the same number has the optimizer of the weights at a path."""
    return moment_of(path.name) in _moments_of_optimizers(run)


@kept
def _moments_of_optimizers(run: Run) -> set[tuple[int, ...]]:
    return {moment_of(one.name) for each in _series(run).values() for one in each if _trains(one)} - {()}


def _trains(one: _Named) -> bool:
    """Whether a file has an optimizer, and the model that it trains is elsewhere."""
    shapes = find(one.member.checkpoint)
    elsewhere = any(not covers(shapes, optimizer) for optimizer in shapes.optimizers)
    return elsewhere or (not shapes.models and _MOMENTS.search(one.name) is not None)


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
    return sums if any(map(any, sums)) else None


def _is_named_right(one: _Named) -> bool:
    """Whether a checkpoint counts what its name says."""
    number, state = number_of(one.name), one.member.state
    return number is not None and number in (state.global_step, state.epoch, state.optimizer_step)


def _lone(run: Run) -> Iterator[tuple[Path, str]]:
    """Whoever keeps the best alone, or begins to average later, leaves files without others on purpose; so does who
    copies some of them."""
    series = _series(run)
    if len(series) < 2:
        return
    there = {role: {moment_of(one.name): one for one in each if _is_whole(one)} for role, each in series.items()}
    for mine, (other, theirs) in product(there.values(), there.items()) if len(there) <= _MOST_ROLES else ():
        if len(mine) < _SERIES or len(theirs) != len(mine) - 1 or OF_A_RUN.match(other) or "best" in other.lower():
            continue
        moments = sorted(mine)
        left = [moment for moment in moments[1:] if moment not in theirs]
        if len(left) != 1 or moments[0] not in theirs:
            continue
        moment = moments[moments.index(left[0]) - 1]
        one, before = mine[left[0]], mine[moment]
        if _is_copy(before, theirs[moment]):
            continue
        small, large = sorted((one.member.checkpoint.size, before.member.checkpoint.size))
        if large <= _ALIKE * small:  # fewer ranks have larger shards
            digits = iter(numbers_in(one.name))
            yield one.member.checkpoint.path, "".join(next(digits, c) if c == "#" else c for c in other)


def _is_copy(one: _Named, other: _Named) -> bool:
    content = _content(one.member.checkpoint)
    return content is not None and content == _content(other.member.checkpoint)


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
