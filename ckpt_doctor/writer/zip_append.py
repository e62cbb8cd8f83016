"""A new end for a torch zip: the old bytes stay, a new program and a new directory are written behind them.

A zip reader starts at the end of the file, so the old directory and the old program become dead bytes, and cutting the
file at its old size gives the old file back. Layout of records and end as PyTorch writes them
(caffe2/serialize/inline_container.cc, `PyTorchStreamWriter`; miniz with zip64 end records always present).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert.hashing import sha256
from ckpt_doctor.inert.zip_structures import (
    END,
    END_MAGIC,
    LOCAL,
    LOCAL_MAGIC,
    MOST_32,
    STORED,
    Directory,
    DirectoryError,
    Entry,
    LocalHeader,
    central_entries,
    central_entry,
    end_records,
    find_end,
    local_header,
)
from ckpt_doctor.writer.copying import pieces

_FARTHEST = 1 << 62
"""An offset that no file reaches; larger ones are not offsets to the system."""
FOLDER = ".ckpt_doctor"
"""Records of migrations lie in `<prefix>/.ckpt_doctor/`."""


def read_directory(fd: int, size: int) -> Directory:
    """Parse the directory of a zip file that is the first `size` bytes of `fd`.

    Raises `WriteRefused` for what an appended directory could not describe: no end record, several volumes, bytes
    before the archive, entries that do not parse.
    """
    read_at = partial(_pread, fd)
    try:
        end = find_end(read_at, size)
    except DirectoryError as error:
        raise WriteRefused("the archive has no end record") from error
    behind = end.at + END.size
    comment = read_at(behind, size - behind)
    if END_MAGIC in comment:  # readers would take the comment for the end
        raise WriteRefused("the archive has no end record")
    if len(comment) != end.comment_length:
        raise WriteRefused("the archive's end record is not at the end of the file")
    if end.elsewhere:
        raise WriteRefused("the archive's zip64 end record is missing")
    if end.disks != (0, 0):
        raise WriteRefused("the archive is one volume of several")
    if end.shift:
        raise WriteRefused("the archive's directory is not where its end record says")
    try:
        entries = tuple(central_entries(read_at(end.offset, end.length), errors="surrogateescape"))
    except DirectoryError as error:
        raise WriteRefused("the archive's directory does not parse") from error
    if len(entries) != end.count:
        raise WriteRefused(f"the archive's directory lists {len(entries)} records, its end record {end.count}")
    return Directory(entries, end.offset, end.at, size, comment)


def end_digest(fd: int, directory: Directory) -> str:
    """SHA-256 of directory and end record: names the state that undo goes back to."""
    return sha256([_pread(fd, directory.offset, directory.size - directory.offset)])


def data_offset(fd: int, entry: Entry) -> int:
    """Where a record's data begins: behind its local header, which has an extra field of its own."""
    raw = _pread(fd, entry.header, LOCAL.size)
    if len(raw) < LOCAL.size or raw[:4] != LOCAL_MAGIC:
        raise WriteRefused(f"record {entry.name} cannot be read")
    header = LocalHeader._make(LOCAL.unpack(raw))
    return int(entry.header + LOCAL.size + header.name_length + header.extra_length)


def read_record(fd: int, entry: Entry) -> bytes:
    """The bytes of a stored record, checked against its CRC. Raises `WriteRefused` when they do not fit."""
    if entry.method != STORED or entry.compressed > os.fstat(fd).st_size:
        raise WriteRefused(f"record {entry.name} cannot be read")
    data = _pread(fd, data_offset(fd, entry), entry.compressed)
    if len(data) != entry.compressed or zlib.crc32(data) != entry.crc:
        raise WriteRefused(f"record {entry.name} does not fit its checksum")
    return data


@dataclass(frozen=True, slots=True)
class Placed:
    """A record that is written in front of the tail, from elsewhere."""

    name: str
    header: bytes
    """Its local header."""
    offset: int
    """Where the header stands."""
    size: int
    crc: int

    @property
    def end(self) -> int:
        """The offset behind its last byte."""
        return self.offset + len(self.header) + self.size


def place(name: str, size: int, crc: int, offset: int) -> Placed:
    """A record of `size` bytes whose header is to stand at `offset`."""
    if size >= MOST_32:
        raise WriteRefused(f"the record {name} would have {size:,} bytes, and a record of 4 GiB cannot be added")
    return Placed(name, local_header(_encoded(name), size, crc, offset), offset, size, crc)


def build_tail(old: Directory, records: dict[str, bytes], placed: Sequence[Placed] = ()) -> bytes:
    """The bytes to append behind `old.size`, or behind the `placed` records: the records, a new directory, a new end.

    A record that the old directory has is replaced by name and keeps its place in the list (PyTorch takes the archive's
    prefix from the first entry); others are added at the end.
    """
    entries = {entry.name: entry.raw for entry in old.entries}
    if len(entries) != len(old.entries):
        raise WriteRefused("the archive has two records of the same name")
    begin = placed[-1].end if placed else old.size
    for record in placed:
        entries[record.name] = central_entry(_encoded(record.name), record.size, record.crc, record.offset)
    tail = bytearray()
    for name, data in records.items():
        record = place(name, len(data), zlib.crc32(data), begin + len(tail))
        tail += record.header + data
        entries[name] = central_entry(_encoded(name), record.size, record.crc, record.offset)
    directory = b"".join(entries.values())
    tail += directory + end_records(len(entries), len(directory), begin + len(tail), old.comment)
    return bytes(tail)


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", errors="surrogateescape")


def _pread(fd: int, offset: int, length: int) -> bytes:
    return b"".join(pieces(fd, offset, offset + length)) if offset < _FARTHEST else b""
