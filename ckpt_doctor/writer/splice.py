"""A splice: one stretch of a file is replaced by other bytes, everything else stays.

For a torch zip the stretch is empty and at the end. For streams and tar files it is the program, so that what
follows moves, and undo needs the old bytes from elsewhere.
"""

from __future__ import annotations

import json
import os
import posixpath
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert.hashing import sha256
from ckpt_doctor.inert.zip_structures import Directory
from ckpt_doctor.types import Adopted, Checkpoint, Program, stamp_of
from ckpt_doctor.writer import copying, zip_append
from ckpt_doctor.writer.previous import last_record, previous_size, records_digest, rest_digest

_TAR_BLOCK = 512
ZIPS = ("torch-zip", "torchscript")


@dataclass(frozen=True, slots=True)
class Splice:
    """`old[:start] + data + old[start + length:]`."""

    start: int
    length: int
    data: bytes
    appended: bool
    """The file keeps all its old bytes: undo is truncation to `start`."""
    adopted: tuple[tuple[zip_append.Placed, Adopted], ...] = ()
    """Records in front of `data` whose bytes come from other files."""

    @property
    def data_at(self) -> int:
        """Where `data` begins."""
        return self.adopted[-1][0].end if self.adopted else self.start

    @property
    def added(self) -> int:
        """Number of the new bytes."""
        return self.data_at - self.start + len(self.data)

    def new_size(self, old_size: int) -> int:
        """Size of the file afterwards."""
        return old_size - self.length + self.added


def plan(
    fd: int, checkpoint: Checkpoint, program: bytes, record: Mapping[str, Any] | None, adopted: Sequence[Adopted] = ()
) -> Splice:
    """The splice that gives the file its new program and, in a zip, the record of this migration and more storages.

    Without a `record` the file does not say that it was migrated: it is part of a unit, whose record lies elsewhere.
    Raises `WriteRefused` when the container has no program that can be replaced, or takes no storages, or when what is
    to be adopted is no longer what it was.
    """
    where = checkpoint.program
    if where is None:
        raise WriteRefused(f"{checkpoint.path}: a {checkpoint.container} file has no program that could be edited")
    if checkpoint.container in ZIPS:
        return _append(fd, checkpoint.size, where, program, record, adopted)
    if adopted:
        raise WriteRefused(f"{checkpoint.path}: no tensors can be added to a {checkpoint.container} file")
    if checkpoint.container == "torch-tar":
        return _tar_member(fd, where, program)
    return Splice(where.offset, where.length, program, appended=False)


def _append(
    fd: int, size: int, where: Program, program: bytes, record: Mapping[str, Any] | None, adopted: Sequence[Adopted]
) -> Splice:
    old = zip_append.read_directory(fd, size)
    if old.find(where.record) is None:
        raise WriteRefused(f"the archive's directory has no record {where.record}")
    data = posixpath.join(posixpath.dirname(where.record), "data", "")
    placed: list[zip_append.Placed] = []
    for storage in adopted:
        crc = _crc_of(storage) if storage.crc is None else storage.crc
        at = placed[-1].end if placed else size
        placed.append(zip_append.place(f"{data}{storage.key}", storage.nbytes, crc, at))
    records = {where.record: program}
    if record is not None:
        records |= _record(fd, old, where.record, record)
    tail = zip_append.build_tail(old, records, placed)
    return Splice(size, 0, tail, appended=True, adopted=tuple(zip(placed, adopted, strict=True)))


def _record(fd: int, old: Directory, program: str, record: Mapping[str, Any]) -> dict[str, bytes]:
    """The record of a migration under its name in the archive, with what undo compares the old archive with."""
    folder = record_folder(program)
    number = 1 + sum(entry.name.startswith(folder) for entry in old.entries)
    name = f"{folder}migration-{number}.json"
    start = previous_size(last_record(fd, old), old.size)
    kept = [entry for entry in old.entries if entry.name not in (program, name)]
    written = {
        **record,
        "previous_size": old.size,
        "previous_directory": old.offset,
        "previous_sha256": zip_append.end_digest(fd, old),
        "previous_rest_sha256": rest_digest(fd, old, start, kept),
        "previous_records_sha256": records_digest(fd, old, start, kept),
    }
    return {name: to_json(written)}


def put(target: int, splice: Splice) -> None:
    """Write the new bytes at their place. Raises `WriteRefused` where another file no longer has its share of them."""
    for placed, storage in splice.adopted:
        copying.write_all(target, placed.header, placed.offset)
        at, crc = placed.offset + len(placed.header), 0
        for piece in adopted_bytes(storage):
            at += copying.write_all(target, piece, at)
            crc = zlib.crc32(piece, crc)
        if at != placed.end or crc != placed.crc:
            raise _gone(storage)
    copying.write_all(target, splice.data, splice.data_at)


def _gone(storage: Adopted) -> WriteRefused:
    return WriteRefused(f"{storage.donor} is not what it was when it was read, and tensors were to come from it")


def adopted_bytes(storage: Adopted) -> Iterator[bytes]:
    """What is copied from another file. It may have been replaced since it was read, by one with the same bytes.

    Where it has no checksum to tell that, it must be the very file.
    """
    try:
        fd = os.open(storage.donor, os.O_RDONLY)
    except OSError as error:
        raise _gone(storage) from error
    try:
        if storage.crc is None and stamp_of(os.fstat(fd)) != storage.stamp:
            raise _gone(storage)
        yield from copying.pieces(fd, storage.offset, storage.offset + storage.nbytes)
    finally:
        os.close(fd)


def _crc_of(storage: Adopted) -> int:
    crc = 0
    for piece in adopted_bytes(storage):
        crc = zlib.crc32(piece, crc)
    return crc


def record_folder(program_record: str) -> str:
    """`<prefix>/.ckpt_doctor/` for the program `<prefix>/data.pkl`."""
    return posixpath.join(posixpath.dirname(program_record), zip_append.FOLDER, "")


def to_json(record: Mapping[str, Any]) -> bytes:
    """A migration record as JSON that any reader takes: infinities and objects as text."""
    return json.dumps(_plain(record), ensure_ascii=False, indent=1, allow_nan=False).encode("utf-8", "backslashreplace")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return repr(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _tar_member(fd: int, where: Program, program: bytes) -> Splice:
    """The member's header block, its bytes and their padding, for torch's tar format of before 0.1.10."""
    import tarfile  # here: a scan does without it

    start = where.offset - _TAR_BLOCK
    header = os.pread(fd, _TAR_BLOCK, start) if start >= 0 else b""
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        raise WriteRefused(f"the tar header before the program does not parse: {error}") from error
    if info.size != where.length:
        raise WriteRefused(f"the tar header says {info.size} bytes, the program has {where.length}")
    # Only size (12 octal digits at 124) and checksum (at 148) change: all else stays as the file has it.
    if len(program) >= 8**11:
        raise WriteRefused("a program of 8 GiB does not fit a tar header")
    new = bytearray(header)
    new[124:136] = b"%011o\0" % len(program)
    new[148:156] = b" " * 8
    new[148:156] = b"%06o\0 " % sum(new)
    padded = bytes(new) + program + b"\0" * (-len(program) % _TAR_BLOCK)
    return Splice(start, _TAR_BLOCK + where.length + (-where.length % _TAR_BLOCK), padded, appended=False)


def apply_to(
    source: int,
    target: int,
    size: int,
    splice: Splice,
    ensure_space: Callable[[int], None],
    progress: copying.Progress | None = None,
) -> None:
    """Make the empty file `target` the source (of `size` bytes) with the splice applied.

    `ensure_space` is called with the bytes that will have to be allocated before any is written, and may raise.
    """
    behind = splice.start + splice.length
    if splice.appended and copying.clone(source, target):
        ensure_space(splice.added)
        # The clone has the whole source: in an undo, more than the prefix.
        os.ftruncate(target, splice.start)
    else:
        ensure_space(copying.allocated(source) + splice.added)
        copying.copy_range(source, target, 0, splice.start, progress=progress)
    if os.fstat(target).st_size != splice.start:
        raise WriteRefused(f"the copy has {os.fstat(target).st_size} bytes where {splice.start} were expected")
    put(target, splice)
    if behind < size and not splice.appended:
        copying.copy_range(source, target, behind, size, splice.start + len(splice.data), progress)


def ensure_applied(fd: int, size: int, splice: Splice) -> None:
    """Raise `WriteRefused` unless the file has the new bytes at their place and the right size."""
    whole = os.fstat(fd).st_size == splice.new_size(size)
    for placed, _ in splice.adopted:
        crc = 0
        for piece in copying.pieces(fd, placed.offset + len(placed.header), placed.end):
            crc = zlib.crc32(piece, crc)
        whole = whole and crc == placed.crc
    if not whole or os.pread(fd, len(splice.data), splice.data_at) != splice.data:
        raise WriteRefused("what was written does not read back: the disk or the file system is faulty")
    if splice.appended:
        zip_append.read_directory(fd, splice.new_size(size))


def digest(fd: int, start: int, end: int) -> str:
    """SHA-256 of the bytes `start` to `end` (exclusive), read in pieces."""
    return sha256(copying.pieces(fd, start, end))
