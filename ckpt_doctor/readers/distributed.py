"""A checkpoint of `torch.distributed.checkpoint`: files of tensors, and the metadata that says where each is.

Source: torch/distributed/checkpoint/filesystem.py: each rank writes `__<rank>_<n>.distcp`; at the very end the
coordinator writes `.metadata` (`_FileSystemWriter.finish`), or each rank its own `__<rank>.metadata`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import TypeGuard

from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.readers.parts import Findings, Parts, missing_part
from ckpt_doctor.types import Checkpoint, Damage, Global, Layout, NotChecked, Opaque
from ckpt_doctor.types.record import record

METADATA = ".metadata"
SUFFIX = ".distcp"
RANK_METADATA = re.compile(r"__(\d{1,6})\.metadata")
_RANK_FILE = re.compile(r"__(\d{1,6})_\d+\.distcp")
_NAME = Global("torch.distributed.checkpoint.metadata", "Metadata")
_OPTIMIZER = re.compile(r"(^|\.)(optim(izers?)?|exp_avg|exp_avg_sq|momentum_buffer|param_groups)(\.|$)")
"""Keys that an optimizer's state has, flattened (torch/distributed/checkpoint/_nested_dict.py)."""


@record(frozen=True)
class Item:
    """The place of a value, or of a part of one."""

    name: str
    """Of a part of a larger tensor with the place where it begins in that: `w[4, 0]`."""
    file: str
    offset: int
    length: int


def describes(checkpoint: Checkpoint) -> bool:
    """Whether a file is such metadata."""
    return isinstance(checkpoint.root, Opaque) and checkpoint.root.callee == _NAME


def layout_of(metadata: Checkpoint) -> Layout:
    """Whether there is an optimizer's state among the values that the metadata lists."""
    listed = _state(metadata.root).get("state_dict_metadata")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, dict) else []
    if not names:
        return "other"
    return "training" if any(_OPTIMIZER.search(name) for name in names) else "state-dict"


def items_of(metadata: Checkpoint) -> list[Item] | None:
    """What the metadata says of each value's place; None where it says nothing that can be followed."""
    listed = _state(metadata.root).get("storage_data")
    if not isinstance(listed, dict):
        return None
    parts = Counter(_name_of(index) for index in listed)
    return list(_items(listed, parts))


def _items(listed: dict[object, object], parts: Mapping[str, int]) -> Iterator[Item]:
    for index, place in listed.items():
        about, name = _state(place), _name_of(index)
        file, offset, length = (about.get(key) for key in ("relative_path", "offset", "length"))
        if parts[name] > 1:
            name += f"[{', '.join(map(str, _place_of(index)))}]"
        if isinstance(file, str) and _is_size(offset) and _is_size(length):
            yield Item(name, file, offset, length)


def _name_of(index: object) -> str:
    name = _state(index).get("fqn")
    return name if isinstance(name, str) else "?"


def _place_of(index: object) -> list[int]:
    """Where in a tensor a part of it begins."""
    offset = _state(index).get("offset")  # a torch.Size
    said = offset.args[0] if isinstance(offset, Opaque) and isinstance(offset.args, tuple) and offset.args else ()
    return [number for number in said if _is_size(number)] if isinstance(said, (list, tuple)) else []


def _is_size(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 63


def names_of(metadata: Checkpoint) -> dict[str, dict[int, str]]:
    """File -> the byte at which each of its values begins -> the value's name."""
    names: dict[str, dict[int, str]] = defaultdict(dict)
    for item in items_of(metadata) or ():
        names[item.file][item.offset] = item.name
    return names


def _state(value: object) -> dict[object, object]:
    """The attributes of a dataclass object."""
    states = value.states if isinstance(value, Opaque) else ()
    return states[0] if len(states) == 1 and isinstance(states[0], dict) else {}


def examine(parts: Parts, folder: str, names: frozenset[str]) -> Findings:
    """Whether the files that the metadata names are there and as long as it says. `folder` ends with a slash."""
    found = Findings()
    described = sorted(name for name in names if name == METADATA or RANK_METADATA.fullmatch(name))
    if not described:
        why = "is not there, and it is written last: the save was cut off"
        message = f"{shown(folder + METADATA)} {why}; the {SUFFIX} files alone cannot be loaded"
        found.damage.append(Damage("missing-part", message, shown(folder + METADATA)))
        return found
    for name in described:
        metadata = parts.open(folder + name)
        items = items_of(metadata) if metadata is not None else None
        if items is None:
            what = f"whether all files of {shown(folder + name)} are there"
            found.not_checked.append(NotChecked(what, "its description cannot be read", "a whole .metadata file"))
            continue
        found.lacks(_missing(parts, folder, name, items))
    if METADATA not in names:
        found.lacks(_missing_ranks(folder, names))
    return found


def _missing_ranks(folder: str, names: frozenset[str]) -> Iterator[Damage]:
    """Where each rank describes its own files: ranks without a description, up to the last that left anything."""
    described = {int(match[1]) for match in map(RANK_METADATA.fullmatch, names) if match}
    saved = {int(match[1]) for match in map(_RANK_FILE.fullmatch, names) if match}
    consequence = "and each rank reads its own: that rank finds nothing to load"
    for rank in range(max(described | saved) + 1):
        if rank not in described:
            name = f"{shown(folder)}__{rank}.metadata"
            yield Damage("missing-part", f"{name} is not there, {consequence}", name)


def _missing(parts: Parts, folder: str, metadata: str, items: list[Item]) -> Iterator[Damage]:
    ends: dict[str, int] = {}
    first: dict[str, str] = {}
    for item in items:
        ends[item.file] = max(ends.get(item.file, 0), item.offset + item.length)
        first.setdefault(item.file, item.name)
    for file, end in ends.items():
        size = parts.size(folder + file)
        held = f"for {shown(first[file])} and others"
        if isinstance(size, str):
            yield missing_part(folder + file, f"{size} ({held})", folder + metadata)
        elif size < end:
            message = f"{shown(folder + file)} has {size:,} bytes, and {shown(folder + metadata)} places {end:,} in it"
            yield Damage("missing-part", f"{message}; loading raises", shown(folder + file), size, end)
