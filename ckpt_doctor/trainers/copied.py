"""Parts that are byte for byte those of another moment's file, by the checksums in the archives.

Each step moves weights and moments, so two files of different labels have the same moments beside other weights only
where a part was copied. SGD counts no steps that would show it. Averages and random states may rest for some epochs: of
these a lone pair shows it, in a run whose other files all have their own. Averages, and one of several models, that are
those of an earlier file again, after others in between, were copied as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal

from ckpt_doctor.inert.lines import ENOUGH
from ckpt_doctor.inert.shapes import find
from ckpt_doctor.inert.tree import items, walk
from ckpt_doctor.trainers.state import trains
from ckpt_doctor.types import Checkpoint, KeyPath, Member, TensorRef, mapping_of
from ckpt_doctor.types.record import record

Part = Literal["optimizer", "model", "averages", "rng"]
Digest = int
_WHOLE = ("float32", "float64")
"""Weights of fewer bits stay the same where a step is too small for them."""
_STATISTICS = ("running_mean", "running_var")
"""Batch norm's, which move where nothing is trained."""


@record(frozen=True)
class Copied:
    """A part of a file that another file has, too."""

    part: Part
    other: str
    """The other file's name."""
    group: Sequence[Path] = ()
    """All files that have it."""

    @property
    def noun(self) -> str:
        """What it is."""
        return _NOUNS[self.part]

    @property
    def told(self) -> str:
        """In a clause."""
        rest = "moments" if self.part == "model" else "weights"
        return f"the {self.noun} are byte for byte those in {self.other}, whose {rest} are others"


_NOUNS: Mapping[Part, str] = {
    "optimizer": "moments",
    "model": "weights",
    "averages": "averaged weights",
    "rng": "random states",
}


def copied(labelled: Sequence[tuple[Member, int]]) -> dict[Path, Copied]:
    """The files of one run, as one of their optimizers sees them, that have a part with another label's file alone."""
    ordered = sorted(labelled, key=lambda one: one[1])
    held = [(member, label, moments_of(member), weights_of(member)) for member, label in ordered]
    whole = [one for one in held if one[2] is not None and one[3] is not None]
    before = [None, *(weights for *_, weights in whole)]
    weights = (
        (member, label, mine, rest)
        for (member, label, rest, mine), last in zip(whole, before, strict=False)
        if mine != last or trains(member)
    )
    found = dict[Path, Copied]()
    each = [
        (member, label, _of_each_model(member, weights is not None), moments)
        for member, label, moments, weights in held
        if moments
    ]
    for model in each[0][2] if each else ():
        alone = [(member, label, digests.get(model), moments) for member, label, digests, moments in each]
        found |= dict(_shared("model", _returning(alone)))
    may_rest: Mapping[Part, Callable[[Member], Digest | None]] = {"rng": random_of, "averages": averages_of}
    for part, digest in may_rest.items():
        resting = [(member, label, digest(member), weights) for member, label, _, weights in held if weights]
        once = {(mine, rest): (label, mine) for _, label, mine, rest in reversed(resting)}  # a whole copy is no pair
        if has_lone_pair(once.values()):
            found |= dict(_shared(part, resting))
        elif part == "averages":
            found |= dict(_shared(part, _returning(resting)))
    return {**found, **dict(_shared("model", weights)), **dict(_shared("optimizer", whole))}


def has_lone_pair(held: Collection[tuple[int, Hashable]]) -> bool:
    """Whether two of these alone have the same digest, neither of them the first, and three or more have their own.

    Each is a moment and a digest, None where it has none."""
    counts = Counter(digest for _, digest in held)
    if len(counts) <= ENOUGH or None in counts:
        return False
    _, first = min(held, key=lambda one: one[0])
    return counts[first] == 1 and sorted(counts.values())[-2:] == [1, 2]


Held = tuple[Member, int, Digest | None, Digest | None]
"""A file, its label, and the digests of a part and of the rest."""


def _returning(held: Sequence[Held]) -> list[Held]:
    """Those that have what an earlier file has, and a file in between has not; none where a label has several."""
    if len({(label, digest) for _, label, digest, _ in held}) > len({label for _, label, _, _ in held}):
        return []  # several runs in one folder
    stretches = Counter(digest for digest, _ in groupby(held, key=lambda one: one[2]))
    return [one for one in held if one[2] is not None and stretches[one[2]] > 1]


def _shared(part: Part, held: Iterable[Held]) -> Iterator[tuple[Path, Copied]]:
    alike: dict[Digest | None, list[tuple[Member, int, Digest | None]]] = {}
    for member, label, mine, rest in held:
        alike.setdefault(mine, []).append((member, label, rest))
    for group in alike.values():
        (first, label, rest), (last, last_label, last_rest) = group[0], group[-1]
        if label == last_label or rest == last_rest:
            continue  # a copy of the whole file, or one more of its moment
        paths = [member.checkpoint.path for member, _, _ in group]
        for path in paths:
            yield path, Copied(part, (first if path != paths[0] else last).label, paths)


def moments_of(member: Member) -> Digest | None:
    """A digest of an optimizer's tensors; None without any, or without checksums."""
    state = mapping_of(member.at("optimizer", "state")) or {}
    entries = ((index, mapping_of(entry) or {}) for index, entry in state.items())
    named = (((index, key), value) for index, entry in entries for key, value in entry.items())
    return _digest(member.checkpoint, member.path("optimizer"), named)


def weights_of(member: Member) -> Digest | None:
    """A digest of the weights in all trained models; None without any, without checksums, or in half precision."""
    shapes = find(member.checkpoint)
    models = shapes.trained
    if len(shapes.optimizers) > 1:  # one of them may rest while others train
        models = [model for model in models if member.has("model") and model.path == member.path("model")]
    named = [
        ((*model.path, key), value)
        for model in models
        for key, value in model.value.items()
        if not str(key).endswith(_STATISTICS)
    ]
    if not models or any(isinstance(value, TensorRef) and not _is_whole(value) for _, value in named):
        return None
    return _digest(member.checkpoint, models[0].path, named)


def _of_each_model(member: Member, is_known: bool) -> dict[KeyPath, Digest | None]:
    """The digests of the weights that one optimizer trains, where they are several models, or of fewer bits."""
    shapes = find(member.checkpoint)
    if len(shapes.optimizers) != 1 or (len(shapes.trained) < 2 and is_known):
        return {}
    return {one.path: _digest(member.checkpoint, one.path, one.value.items()) for one in shapes.trained}


def averages_of(member: Member) -> Digest | None:
    """A digest of the weights in the copies of the trained models."""
    shapes = find(member.checkpoint)
    trained = {id(model) for model in shapes.trained}
    copies = [model for model in shapes.models if id(model) not in trained]
    named = (((*model.path, key), value) for model in copies for key, value in model.value.items())
    return _digest(member.checkpoint, copies[0].path, named) if copies else None


def random_of(member: Member) -> Digest | None:
    """A digest of the random generators' states that are tensors."""
    found = walk(member.at("rng"), items)
    return _digest(member.checkpoint, member.path("rng"), enumerate(value for value, _ in found))


def _is_whole(tensor: TensorRef) -> bool:
    return not tensor.shape or tensor.dtype in _WHOLE or "float" not in tensor.dtype


def _digest(checkpoint: Checkpoint, path: KeyPath, named: Iterable[tuple[object, object]]) -> Digest | None:
    checksums = checksums_at(checkpoint, path)
    found = []
    for name, value in named if any(checksums.values()) else ():
        if isinstance(value, TensorRef) and value.shape:
            crc = checksums.get(value.storage.key)
            if crc is None:
                return None
            found.append((name, crc, value.shape, value.storage_offset))
    return hash(tuple(found)) if found else None


def checksums_at(checkpoint: Checkpoint, path: KeyPath) -> Mapping[str, int]:
    """Those of the file in which a place lies."""
    file = checkpoint
    for part in checkpoint.parts:
        if (checkpoint.name_of(part),) == path[:1]:
            file = part
    return {} if file.metadata.get("checksums") == "none" else file.checksums
