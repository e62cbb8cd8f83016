"""Edits of a unit -> the new content of each changed part, and the file with it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ckpt_doctor.errors import EditRefused, WriteRefused
from ckpt_doctor.inert import edits, names, pickle_writer
from ckpt_doctor.inert.tree import transform
from ckpt_doctor.types import Adopted, Checkpoint, Container, Edit, StorageInfo, stamp_of
from ckpt_doctor.writer import copying, json_file
from ckpt_doctor.writer.files import CREATE, copy_attributes, opened
from ckpt_doctor.writer.splice import ZIPS, adopted_bytes, apply_to, ensure_applied, plan
from ckpt_doctor.writer.torch_archive import write_archive

_PICKLED = (*ZIPS, "torch-legacy", "torch-tar", "pickle", "unknown")
"""Containers that a torch archive may take the place of."""


@dataclass(frozen=True, slots=True)
class PartChange:
    """A part of a unit that is written, and its new content."""

    name: str
    """Relative to the unit, with `/`."""
    part: Checkpoint | None
    """The part whose bytes are kept but for its program; None where the file is written anew."""
    root: object
    """As the written part is to read back."""
    data: bytes
    """The new program; of a JSON part the whole file."""
    adopted: tuple[Adopted, ...] = ()
    container: Container = "torch-zip"


def part_changes(unit: Checkpoint, planned: Sequence[Edit]) -> tuple[PartChange, ...]:
    """What `write_unit` is to write: one change per part that an edit's key path begins with.

    An edit that sets a whole part, `("trainer_state.json",)`, replaces it, or creates it where there is none: as JSON
    where the name says so, else as a torch archive, whose tensors lie in the edit's donor.

    Raises:
        EditRefused: a part that is not there, a name that leads out of the folder, a value that the part's format
            does not have, tensors whose bytes are nowhere.
        WriteRefused: a JSON part changed since it was read.
    """
    if not unit.path.is_dir():
        raise EditRefused(
            f"{unit.path} names a set of files among others, and only a folder can be replaced as a whole"
        )
    parts = {unit.name_of(part): part for part in unit.parts}
    inner: dict[str, list[Edit]] = {}
    for edit in planned:
        if not edit.path or not isinstance(edit.path[0], str):
            raise EditRefused(f"{unit.path} consists of several files, and an edit does not say of which")
        inner.setdefault(edit.path[0], []).append(replace(edit, path=edit.path[1:]))
    return tuple(_change(unit, name, parts.get(name), own) for name, own in inner.items())


def _change(unit: Checkpoint, name: str, part: Checkpoint | None, own: list[Edit]) -> PartChange:
    whole = own[0].op == "set" and not own[0].path
    if not whole and part is None:
        raise EditRefused(f"{name} is to be changed, but {unit.path} has no such part")
    _ensure_name(unit, name)
    if part.container == "json" if part is not None else name.endswith(".json"):
        if not whole and part is not None and part.root is None:
            raise EditRefused(f"{name} could not be read, and only the whole of it can be replaced")
        return _json_change(name, part, own)
    kept = part is not None and (part.container in ZIPS and not part.damage if whole else part.program is not None)
    keeps = kept and part is not None and part.program is not None
    replaceable = not name.endswith(".safetensors") and (part is None or part.container in _PICKLED)
    if not (keeps or (whole and replaceable)):
        raise EditRefused(f"{name} has no program that could be edited")
    base = part if keeps and part is not None else Checkpoint(unit.path / name, 0, "torch-zip", "other", None)
    named, adopted = edits.adopt(own, base)
    root = edits.apply(base.root, named)
    if not keeps:
        _ensure_adopted(name, root, adopted)
    data = pickle_writer.dump(root, container=base.container)
    return PartChange(name, base if keeps else None, root, data, tuple(adopted), base.container)


def _ensure_name(unit: Checkpoint, name: str) -> None:
    if not names.is_plain(name) or any(map(names.is_ours, name.split("/"))):
        raise EditRefused(f"{name!r} cannot be the name of a part of {unit.path}")
    if (unit.path / name).parent.resolve() != (unit.path.resolve() / name).parent:
        raise EditRefused(f"{name!r} lies behind a link, and what is outside of {unit.path} is left alone")


def _json_change(name: str, part: Checkpoint | None, own: list[Edit]) -> PartChange:
    value, style = None, json_file.Style()
    if part is not None and part.root is not None:
        value, style = json_file.loads(_bytes_of(part))
        if value != part.root:
            raise EditRefused(
                f"{name} holds what cannot be written again as it was, such as a number of too many digits"
            )
    data = json_file.dumps(edits.apply_in_place(value, own), style)
    return PartChange(name, None, json.loads(data), data, container="json")


def _bytes_of(part: Checkpoint) -> bytes:
    with opened(part.path) as fd:
        if stamp_of(os.fstat(fd)) != part.stamp:
            raise WriteRefused(f"{part.path} changed since it was read: left alone")
        return b"".join(copying.pieces(fd, 0, part.size))


def _ensure_adopted(name: str, root: object, adopted: Sequence[Adopted]) -> None:
    known = {storage.key for storage in adopted}

    def ensure(value: object) -> object:
        if isinstance(value, StorageInfo) and value.nbytes and value.key not in known:
            raise EditRefused(f"{name} would be a new file, and the bytes of its tensors are in no other")
        return value

    transform(root, ensure)


def write_part(
    change: PartChange, old: Path | None, new: Path, mtime_ns: int, ensure_space: Callable[[int], None]
) -> list[str]:
    """Write the changed part as the new file `new`, durably; returns notes.

    `old` is the file that it replaces; a link is followed. Attributes are those of the old file; a part that was not
    there before gets `mtime_ns`, since a repair is not a new save.
    """
    with opened(new, CREATE, 0o600 if old is not None else 0o666) as target:
        notes = []
        if old is None:
            _anew(change, target, ensure_space)
            os.utime(target, ns=(mtime_ns, mtime_ns))
        else:
            notes = _in_place_of(old, change, target, ensure_space)
        os.fsync(target)
        return notes


def _in_place_of(old: Path, change: PartChange, target: int, ensure_space: Callable[[int], None]) -> list[str]:
    with opened(old) as source:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise WriteRefused(f"{old} is not a regular file: nothing was written")
        if change.part is not None:
            _spliced(change, change.part, source, status, target, ensure_space)
        else:
            _anew(change, target, ensure_space)
        return copy_attributes(status, source, target)


def _spliced(
    change: PartChange,
    part: Checkpoint,
    source: int,
    status: os.stat_result,
    target: int,
    ensure_space: Callable[[int], None],
) -> None:
    if stamp_of(status) != part.stamp:
        raise WriteRefused(f"{part.path} changed since it was read: left alone")
    splice = plan(source, part, change.data, None, change.adopted)
    apply_to(source, target, status.st_size, splice, ensure_space)
    ensure_applied(target, status.st_size, splice)


def _anew(change: PartChange, target: int, ensure_space: Callable[[int], None]) -> None:
    ensure_space(len(change.data) + sum(storage.nbytes for storage in change.adopted))
    if change.container == "json":
        copying.write_all(target, change.data, 0)
        return
    tensors = [(f"data/{storage.key}", storage.nbytes, adopted_bytes(storage)) for storage in change.adopted]
    described = [("data.pkl", len(change.data), [change.data]), ("byteorder", 6, [b"little"])]
    with os.fdopen(os.dup(target), "w+b") as file:
        # kProducedFileFormatVersion for tensors (caffe2/serialize/inline_container.h)
        write_archive(file, [*described, *tensors, ("version", 2, [b"3\n"])])
