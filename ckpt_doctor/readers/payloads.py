"""Pickles that hold whole checkpoints as bytes: legacy streams and archives, inside each other to any depth.

A stream is five pickles (magic number, protocol version, system information, the checkpoint, storage keys), then for
each key an int64 number of elements and the raw elements. Source: torch/serialization.py, `_legacy_save`,
`_legacy_load`. Each of the five is run by `torch.load`, so each is examined.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from functools import partial

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import Reading, shown
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.inert.storages import torch_storage
from ckpt_doctor.inert.zip_structures import LOCAL_MAGIC, Directory, DirectoryError, Entry
from ckpt_doctor.readers import zip_records
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.programs import Programs, growing, read_program
from ckpt_doctor.readers.source import BytesSource, Source
from ckpt_doctor.readers.zip_directory import archive_prefix, read_appended, read_directory
from ckpt_doctor.readers.zip_records import other_pickles
from ckpt_doctor.readers.zip_unlisted import listed, read_unlisted
from ckpt_doctor.types import Damage, StorageInfo
from ckpt_doctor.types.record import record

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001

_FIRST_READ = 1 << 20


@record
class Stream:
    """What a legacy stream holds."""

    main: Reading | None = None
    """The checkpoint's pickle; None when the stream ends or breaks before it."""
    programs: Programs = field(default_factory=Programs)
    damage: list[Damage] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Keys of storages whose bytes are not all there."""
    complete: int = 0
    end: int = 0
    little_endian: object = None
    unread: int = 0
    """Lengths that were not read: each would have been a request to a server, and all together they fit the size."""


def read_stream(source: Source, depth: int = 0) -> Stream:
    """Follow the five pickles and the storages. `depth` counts streams inside pickles inside streams."""
    stream = Stream()
    for data in growing(lambda count: source.read_at(0, count), _FIRST_READ >> 4 if source.far else _FIRST_READ):
        stream.programs = file_programs(depth)
        five = _five(stream.programs, data)
        if not five[-1].ran_out:  # more would not help
            break
    if len(five) > 2 and isinstance(five[2].root, dict):
        stream.little_endian = five[2].root.get("little_endian")
    if five[0].finished and (type(five[0].root) is not int or five[0].root != MAGIC_NUMBER):
        message = "the magic number at the beginning is wrong; torch.load refuses the file"
        stream.damage.append(Damage("malformed-pickle", message, "byte 0"))
    if len(five) > 1 and five[1].finished and five[1].root != PROTOCOL_VERSION:
        message = f"protocol version {shown(five[1].root)} is not {PROTOCOL_VERSION}; torch.load refuses it"
        stream.damage.append(Damage("malformed-pickle", message))
    if len(five) < 4:
        stream.end = five[-1].end
        stream.damage += _cut_off(stream.programs, source.size, "before the description of its tensors")
        return stream
    stream.main = five[3]
    if not stream.main.finished or len(five) < 5 or not five[4].finished:
        stream.end = five[-1].end
        stream.lost = list(stream.main.storages)
        stream.damage += _cut_off(stream.programs, source.size, "before the tensors' bytes")
        return stream
    if any(name.name == "UntypedStorage" for name in stream.main.globals.values()):
        message = "it holds types of tensors that a legacy stream cannot carry (float8, uint16 and other new ones)"
        stream.damage.append(Damage("malformed-pickle", f"{message}: torch.save wrote it, torch.load raises"))
    offsets = _storages(source, stream, five[4])
    persistent = torch_storage(offsets)
    stream.main = read(data, stream.main.start, persistent, stream.programs.payload)
    return stream


def _cut_off(programs: Programs, size: int, where: str) -> list[Damage]:
    """A stream that ends early; one that breaks in the middle is described by its pickle's own damage."""
    if not any("ends before its STOP" in damage.message for damage in programs.damage):
        return []
    programs.damage = [damage for damage in programs.damage if "ends before its STOP" not in damage.message]
    return [Damage("truncated-archive", f"the stream is cut off {where}; torch.load raises", found=size)]


def _five(programs: Programs, data: bytes) -> list[Reading]:
    """The pickles at the beginning, until one does not end."""
    readings: list[Reading] = []
    at = 0
    for where in ("magic number", "protocol version", "system information", "", "storage keys"):
        persistent = None if where else torch_storage(only=True)
        reading = read_program(programs, data, at, persistent, where, trailing=False)
        readings.append(reading)
        if not reading.finished:
            break
        at = reading.end
    return readings


def _storages(source: Source, stream: Stream, keys: Reading) -> dict[str, int]:
    """Where each storage's elements begin, checking every length on the way."""
    assert stream.main is not None
    offsets: dict[str, int] = {}
    at = keys.end
    listed = keys.root if isinstance(keys.root, list) else []
    known = stream.main.storages
    names = [
        raw.decode("latin-1") if isinstance(raw, bytes) else raw if isinstance(raw, str) else str(index)
        for index, raw in enumerate(listed)
    ]
    nbytes = [storage.nbytes for name in names if (storage := known.get(name)) is not None]
    trusted = source.far and len(nbytes) == len(names) and at + sum(nbytes) + 8 * len(nbytes) == source.size
    stream.unread = len(names) if trusted else 0
    for key in names:
        storage = known.get(key)
        if storage is None:
            message = f"the stream lists storage {shown(key)!r}, which no tensor refers to; torch.load raises"
            stream.damage.append(Damage("malformed-pickle", message, where=f"byte {at}"))
            break
        declared = b"" if trusted else source.read_at(at, 8)
        if len(declared) < 8 and not trusted:
            break
        numel = storage.numel if trusted else int.from_bytes(declared, "little", signed=True)
        if numel != storage.numel:
            message = f"storage {shown(key)} declares {numel:,} elements, its tensors {storage.numel:,}; loading raises"
            stream.damage.append(Damage("missing-record", message, f"byte {at}", numel, storage.numel))
            break
        at += 8
        if at + storage.nbytes > source.size:
            break
        offsets[key] = at
        at += storage.nbytes
        stream.complete += 1
    stream.end = at
    stream.lost = [key for key in known if key not in offsets]
    if stream.lost and not any(damage.kind in ("missing-record", "malformed-pickle") for damage in stream.damage):
        message = (
            f"the stream is cut off: {stream.complete:,} of {len(known):,} storages are complete, the next begins at "
            f"byte {at:,}; torch.load raises"
        )
        stream.damage.append(Damage("truncated-archive", message, found=source.size))
    return offsets


def file_programs(depth: int = 0) -> Programs:
    """A file's programs, none read yet. `depth` counts checkpoints inside pickles inside checkpoints."""
    return Programs(partial(_storage_inside, depth))


def _storage_inside(depth: int, programs: Programs, data: bytes, offset: int | None) -> StorageInfo | None:
    """What `torch.storage._load_from_bytes` would give: the storage of a whole stream inside a pickle.

    Everything that the inner pickles name is added to `programs`.
    """
    if depth >= limits.MAX_STREAM_DEPTH:
        message = f"checkpoints inside checkpoints, more than {limits.MAX_STREAM_DEPTH} deep"
        programs.damage.append(Damage("limit-exceeded", message))
        return None
    inner: Programs
    if data[:4] == LOCAL_MAGIC:
        inner, root = _read_inner_zip(BytesSource(data), depth + 1)
    else:
        stream = read_stream(BytesSource(data), depth + 1)
        inner, root = stream.programs, stream.main.root if stream.main is not None else None
        programs.damage += stream.damage
    programs.take_names(inner)
    programs.damage += inner.damage
    if not isinstance(root, StorageInfo):
        return None
    programs.payloads += 1
    place = None if offset is None or root.offset is None else offset + root.offset
    return replace(root, key=f"{programs.payloads}/{root.key}", offset=place)


def _read_inner_zip(source: Source, depth: int) -> tuple[Programs, object]:
    """The pickles of an archive whose bytes are inside a pickle, and what its `data.pkl` builds."""
    programs = file_programs(depth)
    root: object = None
    try:
        directory = read_directory(source.read_at, source.size)
    except DirectoryError:
        return programs, root
    prefix = archive_prefix(directory)
    main = None if prefix is None else next(e for e in directory.entries if e.name == prefix + "data.pkl")
    if main is not None:
        root = read_program(programs, zip_records.record(source, main, programs.damage), 0, None, shown(main.name)).root
    other_pickles(programs, source, beside(directory, main))
    read_unlisted(programs, source, listed(directory), source.size, file_programs)
    return programs, root


def beside(directory: Directory, main: Entry | None) -> Iterator[Entry]:
    """The records of an archive but for one."""
    return (entry for entry in (*directory.entries, *directory.others) if entry is not main)


def appended_pickles(view: FileView) -> Programs:
    """What the pickles name and call in an archive that hides at the end of a file of another kind."""
    programs = file_programs()
    other_pickles(programs, view, read_appended(view.read_at, view.size))
    return programs
