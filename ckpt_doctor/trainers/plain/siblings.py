"""What a file lacks, or has in another form, that the files have which its loop named and saved alike."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from ckpt_doctor.inert.lines import ENOUGH
from ckpt_doctor.inert.pairing import shapes_of_moments
from ckpt_doctor.inert.shapes import Optimizer, Part, find
from ckpt_doctor.trainers.copied import checksums_at
from ckpt_doctor.trainers.plain.position import Kin, standing
from ckpt_doctor.trainers.plain.saved import name_form, numbers_in
from ckpt_doctor.trainers.state import param_groups
from ckpt_doctor.types import Member, Run, TensorRef, dotted, mapping_of, wrapper_of
from ckpt_doctor.types.record import kept, record


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
    def parts(self) -> dict[Path, dict[tuple[str, str], None]]:
        """File -> kind and place of its parts, in order."""
        return {
            member.checkpoint.path: dict.fromkeys((kind, dotted(part.path)) for kind, part in _parts(member))
            for _, member in self.members
        }

    @cached_property
    def holding(self) -> dict[tuple[str, str], tuple[int, int, Member, int]]:
        """Kind and place of a part -> the lowest and the highest label with it, a file, and how many have it."""
        found: dict[tuple[str, str], tuple[int, int, Member, int]] = {}
        for label, member in self.members:
            for part in self.parts[member.checkpoint.path]:
                known = found.get(part, (label, label, member, 0))
                found[part] = (min(known[0], label), max(known[1], label), known[2], known[3] + 1)
        return found

    def missing_in(self, member: Member, label: int) -> Iterator[Missing]:
        """What a file lacks that three others have, the first of them before it."""
        own = self.parts.get(member.checkpoint.path, ())
        for (kind, key), (first, last, other, count) in self.holding.items():
            is_alone = kind != "part" or count == len(self.members) - 1  # what a loop saves now and then is no part
            if (kind, key) not in own and count >= ENOUGH and first < label and is_alone:
                yield Missing(key, kind, other.label, label < last)

    @cached_property
    def wrappers(self) -> Counter[str | None]:
        """The prefixes of their models' keys, and how many files have each."""
        return Counter(wrapper(member) for _, member in self.members)

    def has_other_keys(self, member: Member) -> bool:
        """Whether a file's keys are wrapped and those of three others are not, or the other way round."""
        if len(self.wrappers) == 1:
            return False
        own = wrapper(member)
        return any(count >= ENOUGH for other, count in self.wrappers.items() if other != own)

    @cached_property
    def forms(self) -> dict[Path, Form]:
        """File -> its form."""
        return {member.checkpoint.path: form_of(member) for _, member in self.members}

    @cached_property
    def in_order(self) -> list[tuple[int, Path]]:
        """Labels and files, by the labels."""
        return sorted((label, member.checkpoint.path) for label, member in self.members)

    @cached_property
    def unlike(self) -> dict[Path, Unlike]:
        """The files of another form than those around them, which are of one."""
        found: dict[Path, Unlike] = {}
        for label, path in self.in_order:
            first, last = (cut(self.in_order, label, key=lambda one: one[0]) for cut in (bisect_left, bisect_right))
            before, after = self.in_order[max(0, first - 2) : first], self.in_order[last : last + 1]
            around = [self.forms[path] for _, path in (before[-1:] + after if after else before)]
            own = self.forms[path]
            if before and len(around) == 2 and own != around[0] == around[1]:
                found[path] = Unlike(own, around[0], bool(after))
        return found


@record(frozen=True)
class Form:
    """What weights and optimizers of one run have in common, whatever their values."""

    precision: frozenset[str]
    """The types of the weights that are numbers with a fraction."""
    averages: frozenset[str]
    """Those of the optimizer's averages."""
    keys: frozenset[object]
    """What the optimizer keeps of a parameter: `exp_avg`, `momentum_buffer`."""
    moments: int
    """Parameters that have a state, of which not all averages are 0."""
    groups: tuple[object, ...]
    """How many parameters each group has, and the shapes of the parameters' moments."""


def form_of(member: Member) -> Form:
    """The form of a file, as one of its optimizers sees it."""
    models = (model.value.values() for model in find(member.checkpoint).trained)
    tensors = [value for values in models for value in values if isinstance(value, TensorRef) and value.shape]
    state, groups = mapping_of(member.at("optimizer", "state")) or {}, param_groups(member)
    params = [one for group in groups if isinstance(one := group.get("params"), (list, tuple))]
    in_order = {key: state[key] for each in params for key in each if isinstance(key, (int, str)) and key in state}
    entries = [(mapping_of(entry) or {}).values() for entry in in_order.values()]
    averages = [[one for one in entry if isinstance(one, TensorRef) and one.shape] for entry in entries]
    zeros = _repeated(averages, checksums_at(member.checkpoint, member.path("optimizer")))
    return Form(
        _precision(tensors),
        _precision(one for entry in averages for one in entry),
        frozenset(key for entry in in_order.values() for key in mapping_of(entry) or ()),
        sum(bool(entry) and not is_zero for entry, is_zero in zip(in_order.values(), zeros, strict=True)),
        (*map(len, params), *shapes_of_moments(Optimizer((), (), in_order))),
    )


def _precision(tensors: Iterable[TensorRef]) -> frozenset[str]:
    return frozenset(tensor.dtype for tensor in tensors if "float" in tensor.dtype)


def _repeated(averages: Sequence[Sequence[TensorRef]], checksums: Mapping[str, int]) -> list[bool]:
    """For each parameter, whether all its averages are the same bytes as others of that shape: only zeros are."""
    if len({*checksums.values()}) == len(checksums):
        return [False] * len(averages)
    held = [[(checksums.get(one.storage.key), one.shape, one.dtype) for one in entry] for entry in averages]
    many = Counter(one for entry in held for one in entry)
    return [bool(entry) and all(one[0] is not None and many[one] > 1 for one in entry) for entry in held]


@record(frozen=True)
class Unlike:
    """A file of another form than the files around it."""

    own: Form
    usual: Form
    is_between: bool
    """Whether the files before and after it have that form; else the two before it, and it is the last."""

    @property
    def is_open(self) -> bool:
        """Whether a part may be lost, where no later file shows whether it is so from here on."""
        own, usual = self.own, self.usual
        types = (own.precision, own.averages) != (usual.precision, usual.averages)
        return not self.is_between and (types or self.is_of_another or self.has_lost_moments or self.is_reordered)

    @property
    def is_of_another(self) -> bool:
        """Whether the optimizer's state is that of another class, by what it keeps; where any is kept."""
        return bool(self.own.keys and self.usual.keys) and self.own.keys != self.usual.keys

    @property
    def has_lost_moments(self) -> bool:
        """Whether fewer parameters have a state."""
        return self.own.moments < self.usual.moments

    @property
    def has_other_groups(self) -> bool:
        """Whether the optimizer has other parameters, or in another order, by their shapes."""
        return self.own.groups != self.usual.groups

    @property
    def is_reordered(self) -> bool:
        """Whether the optimizer has the same parameters in another order, by their shapes."""
        return self.has_other_groups and Counter(self.own.groups) == Counter(self.usual.groups)


def unlike(member: Member, run: Run) -> Unlike | None:
    """How a file differs from those before and after it, which are of one form; the last from the two before it."""
    return alike(member, run).unlike.get(member.checkpoint.path)


def wrapper(member: Member) -> str | None:
    """The prefix that all keys of the file's first model have."""
    return wrapper_of(member.at("model"))


def _parts(member: Member) -> Iterator[tuple[str, Part]]:
    shapes = find(member.checkpoint)
    yield from (("weights", part) for part in shapes.models)
    yield from (("scaler", part) for part in shapes.scalers)
    known = {
        one.path[:1] for held in (shapes.models, shapes.scalers, shapes.optimizers, shapes.schedulers) for one in held
    }
    for key, value in (mapping_of(member.checkpoint.root) or {}).items():
        if isinstance(key, str) and (key,) not in known and value and isinstance(value, (dict, list, tuple)):
            yield "part", Part((key,), value)


def alike(member: Member, run: Run) -> Alike:
    """The file's siblings that are named alike, itself among them. Looked for once a run."""
    return _by_form(standing(member, run).kin).get(name_form(member.checkpoint), _NO_OTHERS)


@kept
def _by_form(kin: Kin) -> dict[str, Alike]:
    found: dict[str, list[tuple[int, Member]]] = {}
    for one in kin.members:
        if (label := kin.labels.get(one.checkpoint.path)) is not None:
            found.setdefault(name_form(one.checkpoint), []).append((label, one))
    return {form: Alike(tuple(members)) for form, members in found.items()}


_NO_OTHERS = Alike(())


def missing(member: Member, run: Run) -> tuple[Missing, ...]:
    """What the file lacks and its siblings have."""
    label = standing(member, run).label
    return () if label is None else tuple(alike(member, run).missing_in(member, label))


def of_another_moment(member: Member, run: Run) -> Member | None:
    """A file of another model with the same number in its name, where one of the two has the name of another moment."""

    def is_misnamed(one: Member) -> bool:
        departed = standing(one, run).departure
        return departed is not None and departed.parts == {"name"}

    for other in _of_one_number(run).get(numbers_in(member.checkpoint), [])[:MOST_OF_ONE_NUMBER]:
        of_another = standing(other, run).kin is not standing(member, run).kin
        if of_another and is_misnamed(other) != is_misnamed(member):
            return other
    return None


def crowd(member: Member, run: Run) -> Member | None:
    """Of three or more files of one model that are named as this one is, which alone has another model: one of them."""
    return _crowds(run).get(member.checkpoint.path)


@kept
def _crowds(run: Run) -> dict[Path, Member]:
    named: dict[str, list[Member]] = {}
    for member in run.members:
        named.setdefault(name_form(member.checkpoint), []).append(member)
    found = {}
    for members in named.values():
        by_kin: dict[int, list[Member]] = {}
        for one in members:
            by_kin.setdefault(id(standing(one, run).kin), []).append(one)
        lone, *others = sorted(by_kin.values(), key=len)
        if len(others) == 1 and len(lone) == 1 and len(others[0]) >= ENOUGH:
            found[lone[0].checkpoint.path] = others[0][0]
    return found


def names_of_weights(member: Member) -> set[str]:
    """The keys of a file's trained models."""
    models = find(member.checkpoint).trained
    return {dotted((*model.path, str(key))) for model in models for key in model.value}


MOST_OF_ONE_NUMBER = 8
"""Files of one moment that are looked at."""


@kept
def _of_one_number(run: Run) -> dict[tuple[int, ...], list[Member]]:
    """The files by the numbers in their names."""
    found: dict[tuple[int, ...], list[Member]] = {}
    for member in run.members:
        if numbers := numbers_in(member.checkpoint):
            found.setdefault(numbers, []).append(member)
    return found
