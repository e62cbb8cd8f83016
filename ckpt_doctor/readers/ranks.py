"""What the folder of one moment lacks, by the files of its other ranks and by the moments before and after it."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import chain, islice, product
from math import prod
from pathlib import Path, PurePosixPath

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.moments import RANKS, form_of
from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.readers.listing import listing
from ckpt_doctor.readers.part_names import beside, is_part_name
from ckpt_doctor.types import Checkpoint, Damage, Opaque, mapping_of

_SIZES = ("tensor_model_parallel_size", "pipeline_model_parallel_size")
_OF_WORLD = re.compile(r"(?P<before>.+_world_size_(?P<count>\d{1,5})_rank_)(?P<rank>\d{1,5})(?P<behind>\..+)")
"""verl's file of one rank, in a folder for each model."""
_UNFINISHED = "lies beside it, which NeMo removes when a save is complete: it was cut off, or goes on"
_NUMBERS = re.compile(r"\d+")
_CUT = re.compile(r"model|weight|optim|layer|shard", re.IGNORECASE)
"""Files that are the smaller the more ranks there are."""
Numbers = tuple[int, ...]


def lost_parts(unit: Checkpoint) -> list[Damage]:
    """The files of a folder that are not there, though its ranks or its neighbours call for them."""
    files = unit.metadata.get("files", {})
    folder = Path(os.path.realpath(unit.path))  # of `.`, or of a link `latest`, too
    unfinished = f"{folder.name}-unfinished"
    try:
        found = chain(_ranks(unit, files), _of_world(files), _as_beside(folder, files))
        lost = dict(islice(found, limits.MAX_DAMAGE))  # a name can call for any number
        if os.path.lexists(folder.parent / unfinished):
            lost = {unfinished: _UNFINISHED} | lost
    except OSError:  # a folder may not be listed: no evidence
        return []
    told = [damage.where for damage in unit.damage]
    return [
        Damage("missing-part", f"{shown(name)} {why}", shown(name))
        for name, why in lost.items()
        if shown(name) not in told
    ]


def _ranks(unit: Checkpoint, files: Collection[str]) -> Iterator[tuple[str, str]]:
    """Folders of Megatron-LM's ranks: each tensor-parallel one has all pipeline stages, each stage all of those."""
    there = [name for name in _names_in(unit.path) if RANKS.fullmatch(name)]
    numbers = {_numbers(name): name for name in there}
    if len({len(each) for each in numbers}) != 1:
        return
    for name in there:
        is_empty = not any(file.startswith(f"{name}/") for file in files)
        if is_empty and not (unit.path / name).is_symlink():  # which is not followed
            yield name, "holds no file: its rank finds nothing to load"
    model, stages = _sizes(unit)
    lasts = [max(column) + 1 for column in zip(*numbers, strict=True)]
    lasts[0] = max(lasts[0], model)
    if len(lasts) > 1 and stages > 1:
        lasts[1] = max(lasts[1], stages)
    if prod(lasts) > limits.MAX_UNIT_FILES:
        return
    for rank in product(*map(range, lasts)):
        if rank not in numbers:
            name = _spelled(there[0], rank)
            why = f"is not there, and {shown(there[0])} and the sizes of the run call for it"
            yield name, f"{why}: its rank finds nothing to load"


def _of_world(files: Collection[str]) -> Iterator[tuple[str, str]]:
    """Files of ranks whose names say how many there are."""
    there: dict[tuple[str, int, str], set[int]] = defaultdict(set)
    for match in filter(None, map(_OF_WORLD.fullmatch, files)):
        there[match["before"], int(match["count"]), match["behind"]].add(int(match["rank"]))
    for (before, count, behind), ranks in there.items():
        why = f"is not there, and the others' names say that there are {count:,}: loading raises"
        yield from ((f"{before}{rank}{behind}", why) for rank in range(count) if rank not in ranks)


def _sizes(unit: Checkpoint) -> Numbers:
    """Into how many ranks and stages the saved command cut the model; 1 where it does not say."""
    saved = next((mapping["args"] for part in unit.parts if "args" in (mapping := mapping_of(part.root) or {})), None)
    options = saved.states[0] if isinstance(saved, Opaque) and saved.states else None
    said = [(mapping_of(options) or {}).get(name) for name in _SIZES]
    return tuple(size if type(size) is int and 0 < size < limits.MAX_UNIT_FILES else 1 for size in said)


def _about(size: int) -> range:
    return range(size - size // 5, size + size // 5 + 1)


def _as_beside(folder: Path, files: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Parts that two neighbours have: the moments before and after the folder's, or the last two before it.

    Whoever takes the optimizer out of old checkpoints leaves them alike. A run may go on with another number of ranks:
    of these only those count that have another file here, or whose files of weights and moments are as large as there.
    """
    others = beside(folder)
    if len(others) < 2:
        return
    first, second = (
        {name: size for name, size in listing(other).files.items() if _is_compared(name)} for other in others
    )
    seen: dict[str, dict[Numbers, bool]] = defaultdict(dict)
    for name, size in files.items():
        seen[form_of(name)][_numbers(name)] = bool(_CUT.search(name)) and first.get(name, 0) in _about(size)
    ranks = {numbers for each in seen.values() for numbers in each}
    for name in sorted((first.keys() & second.keys()).difference(files)):
        alike = seen.get(form_of(name), {})
        if all(alike.values()) or _numbers(name) in ranks:
            beside_it = f"{shown(others[0].name)} and {shown(others[1].name)}"
            yield name, f"is not there, and {beside_it} have it: the save was cut off"


def _names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def _is_compared(name: str) -> bool:
    """Whether all moments have a file of that name; of a distributed checkpoint, its metadata says how many it has."""
    return is_part_name(PurePosixPath(name).name) and not name.endswith((".distcp", ".json"))


def _numbers(name: str) -> Numbers:
    return tuple(map(int, _NUMBERS.findall(name)))


def _spelled(name: str, numbers: Numbers) -> str:
    rest = iter(numbers)
    return _NUMBERS.sub(lambda match: f"{next(rest):0{len(match[0])}d}", name)
