"""What a file lacks, or has in another form, that the files have which its loop named and saved alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from ckpt_doctor.inert.shapes import Part, find
from ckpt_doctor.trainers.lines import ENOUGH
from ckpt_doctor.trainers.plain.agreement import name_form, numbers_in
from ckpt_doctor.trainers.plain.position import standing
from ckpt_doctor.types import Member, Run, dotted, wrapper_of
from ckpt_doctor.types.record import once, record


@record(frozen=True)
class Missing:
    """A part that a file lacks."""

    key: str
    kind: str
    other: str
    """A file that has it."""
    is_between: bool
    """Whether an earlier file and a later one have it."""


@record(frozen=True)
class Alike:
    """Files that are named alike, by their labels."""

    members: tuple[tuple[int, Member], ...]

    @cached_property
    def holding(self) -> dict[tuple[str, str], tuple[int, int, Member, int]]:
        """Kind and place of a part -> the lowest and the highest label with it, a file, and how many have it."""
        found: dict[tuple[str, str], tuple[int, int, Member, int]] = {}
        for label, member in self.members:
            for kind, part in _parts(member):
                known = found.get((kind, dotted(part.path)), (label, label, member, 0))
                span = (min(known[0], label), max(known[1], label))
                found[kind, dotted(part.path)] = (*span, known[2], known[3] + 1)
        return found

    def missing_in(self, member: Member, label: int) -> Iterator[Missing]:
        """What a file lacks that three others have, the first of them before it."""
        own = {(kind, dotted(part.path)) for kind, part in _parts(member)}
        for (kind, key), (first, last, other, count) in self.holding.items():
            if (kind, key) not in own and count >= ENOUGH and first < label:
                yield Missing(key, kind, other.label, label < last)

    @cached_property
    def wrappers(self) -> dict[str | None, int]:
        """The prefixes of their models' keys, and how many files have each."""
        found: dict[str | None, int] = {}
        for _, member in self.members:
            found[wrapper(member)] = found.get(wrapper(member), 0) + 1
        return found

    def has_other_keys(self, member: Member) -> bool:
        """Whether a file's keys are wrapped and those of three others are not, or the other way round."""
        own = wrapper(member)
        return any(count >= ENOUGH for other, count in self.wrappers.items() if other != own)


def wrapper(member: Member) -> str | None:
    """The prefix that all keys of the file's first model have."""
    return wrapper_of(member.at("model"))


def _parts(member: Member) -> Iterator[tuple[str, Part]]:
    shapes = find(member.checkpoint)
    yield from (("weights", part) for part in shapes.models)
    yield from (("scaler", part) for part in shapes.scalers)


def alike(member: Member, run: Run) -> Alike:
    """The file's siblings that are named alike, itself among them. Looked for once a run."""
    kin = standing(member, run).kin

    def by_form() -> dict[str, Alike]:
        found: dict[str, list[tuple[int, Member]]] = {}
        for one in kin.members:
            if (label := kin.labels.get(one.checkpoint.path)) is not None:
                found.setdefault(name_form(one.checkpoint.path), []).append((label, one))
        return {form: Alike(tuple(members)) for form, members in found.items()}

    return once(kin, "alike", by_form).get(name_form(member.checkpoint.path), Alike(()))


def missing(member: Member, run: Run) -> tuple[Missing, ...]:
    """What the file lacks and its siblings have."""
    label = standing(member, run).label
    return () if label is None else tuple(alike(member, run).missing_in(member, label))


def of_another_moment(member: Member, run: Run) -> Member | None:
    """A file of another model with the same number in its name, where one of the two has the name of another moment.

    Looked for once a run: each file asks."""

    def is_misnamed(one: Member) -> bool:
        departed = standing(one, run).departure
        return departed is not None and departed.parts == {"name"}

    numbered = once(run, "numbered", lambda: _of_one_number(run.members))
    for other in numbered.get(numbers_in(member.checkpoint.path), [])[:MOST_OF_ONE_NUMBER]:
        of_another = standing(other, run).kin is not standing(member, run).kin
        if of_another and is_misnamed(other) != is_misnamed(member):
            return other
    return None


MOST_OF_ONE_NUMBER = 8
"""Files of one moment that are looked at."""


def _of_one_number(members: Iterable[Member]) -> dict[tuple[int, ...], list[Member]]:
    """The files by the numbers in their names."""
    found: dict[tuple[int, ...], list[Member]] = {}
    for member in members:
        if numbers := numbers_in(member.checkpoint.path):
            found.setdefault(numbers, []).append(member)
    return found
