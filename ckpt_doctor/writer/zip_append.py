"""A new end for a torch zip: the old bytes stay, a new program and a new directory are written behind them.

A zip reader starts at the end of the file, so the old directory and the old program become dead bytes, and cutting the
file at its old size gives the old file back. Layout of records and end as PyTorch writes them
(caffe2/serialize/inline_container.cc, `PyTorchStreamWriter`; miniz with zip64 end records always present).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert.hashing import sha256

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_LOCAL_MAGIC, _CENTRAL_MAGIC = b"PK\x03\x04", b"PK\x01\x02"
_END_MAGIC, _END64_MAGIC, _LOCATOR_MAGIC = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_U16, _U32 = 0xFFFF, 0xFFFFFFFF
_UTF8 = 0x0800
_ZIP64 = 45
"""Version of the zip format that has 64-bit sizes ("version needed to extract" 4.5)."""

_FARTHEST = 1 << 62
"""No file reaches it, and the system takes no offset of 64 bits."""

ALIGNMENT = 64
"""Record data begins at multiples of this (`kFieldAlignment`, caffe2/serialize/inline_container.h)."""
FOLDER = ".ckpt_doctor"
"""Records of migrations lie in `<prefix>/.ckpt_doctor/`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One directory entry, with its bytes as they stand in the file."""

    name: str
    raw: bytes
    header_offset: int
    size: int
    """Stored bytes of the record."""
    crc: int
    stored: bool
    """Not compressed."""


@dataclass(frozen=True, slots=True)
class Directory:
    """The central directory of a zip file and the place where it stands."""

    entries: tuple[Entry, ...]
    offset: int
    size: int
    """Size of the file that the directory describes: its end record ends here."""
    comment: bytes
    digest: str
    """SHA-256 of everything from `offset` to `size`: names the state that undo goes back to."""

    def find(self, name: str) -> Entry | None:
        """The entry of that name."""
        return next((entry for entry in self.entries if entry.name == name), None)


def read_directory(fd: int, size: int) -> Directory:
    """Parse the directory of a zip file that is the first `size` bytes of `fd`.

    Raises `WriteRefused` for what an appended directory could not describe: no end record, several volumes, bytes
    before the archive, entries that do not parse.
    """
    tail_start = max(0, size - _END.size - _U16)
    tail = _pread(fd, tail_start, size - tail_start)
    at = tail.rfind(_END_MAGIC)
    if at < 0 or len(tail) - at < _END.size:
        raise WriteRefused("the archive has no end record")
    _, disk, first_disk, _, count, length, offset, comment_length = _END.unpack_from(tail, at)
    comment = tail[at + _END.size :]
    if len(comment) != comment_length:
        raise WriteRefused("the archive's end record is not at the end of the file")
    end = tail_start + at
    if end >= _LOCATOR.size + _END64.size:
        locator = _pread(fd, end - _LOCATOR.size, _LOCATOR.size)
        if locator[:4] == _LOCATOR_MAGIC:
            _, _, end64, _ = _LOCATOR.unpack(locator)
            record = _pread(fd, end64, _END64.size) if end64 <= end - _LOCATOR.size - _END64.size else b""
            if record[:4] != _END64_MAGIC:
                raise WriteRefused("the archive's zip64 end record is missing")
            _, _, _, _, disk, first_disk, _, count, length, offset = _END64.unpack(record)
            end = end64
    if disk or first_disk:
        raise WriteRefused("the archive is one volume of several")
    if offset + length != end:
        raise WriteRefused("the archive's directory is not where its end record says")
    raw = _pread(fd, offset, length)
    entries = tuple(_entries(raw))
    if len(entries) != count:
        raise WriteRefused(f"the archive's directory lists {len(entries)} records, its end record {count}")
    digest = sha256([_pread(fd, offset, size - offset)])
    return Directory(entries, offset, size, comment, digest)


def _entries(raw: bytes) -> list[Entry]:
    entries = []
    at = 0
    while at < len(raw):
        if len(raw) - at < _CENTRAL.size or raw[at : at + 4] != _CENTRAL_MAGIC:
            raise WriteRefused("the archive's directory does not parse")
        fields = _CENTRAL.unpack_from(raw, at)
        flags, method, crc, packed, unpacked = fields[3], fields[4], fields[7], fields[8], fields[9]
        name_length, extra_length, comment_length, offset = fields[10], fields[11], fields[12], fields[16]
        name_at = at + _CENTRAL.size
        extra_at = name_at + name_length
        after = extra_at + extra_length + comment_length
        if after > len(raw):
            raise WriteRefused("the archive's directory does not parse")
        packed, offset = _wide(raw[extra_at : extra_at + extra_length], packed, unpacked, offset)
        encoding = "utf-8" if flags & _UTF8 else "cp437"
        name = raw[name_at:extra_at].decode(encoding, errors="surrogateescape" if flags & _UTF8 else "strict")
        entries.append(Entry(name, raw[at:after], offset, packed, crc, method == 0))
        at = after
    return entries


def _wide(extra: bytes, packed: int, unpacked: int, offset: int) -> tuple[int, int]:
    """Compressed size and header offset, from the zip64 extra field where 32 bits do not hold them."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == 1:
            # Only fields whose 32-bit place is full are present, in this order (APPNOTE 4.5.3).
            field = at + 4
            wanted = [unpacked == _U32, packed == _U32, offset == _U32]
            if length < 8 * sum(wanted) or field + length > len(extra):
                raise WriteRefused("the archive's directory does not parse")
            values = list(struct.unpack_from(f"<{sum(wanted)}Q", extra, field))
            if wanted[0]:
                values.pop(0)
            packed = values.pop(0) if wanted[1] else packed
            offset = values.pop(0) if wanted[2] else offset
            break
        at += 4 + length
    return packed, offset


def data_offset(fd: int, entry: Entry) -> int:
    """Where a record's data begins: behind its local header, which has an extra field of its own."""
    header = _pread(fd, entry.header_offset, _LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != _LOCAL_MAGIC:
        raise WriteRefused(f"record {entry.name} cannot be read")
    fields = _LOCAL.unpack(header)
    return int(entry.header_offset + _LOCAL.size + fields[9] + fields[10])


def read_record(fd: int, entry: Entry) -> bytes:
    """The bytes of a stored record, checked against its CRC. Raises `WriteRefused` when they do not fit."""
    if not entry.stored or entry.size > os.fstat(fd).st_size:
        raise WriteRefused(f"record {entry.name} cannot be read")
    data = _pread(fd, data_offset(fd, entry), entry.size)
    if len(data) != entry.size or zlib.crc32(data) != entry.crc:
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
        """Behind its last byte."""
        return self.offset + len(self.header) + self.size


def place(name: str, size: int, crc: int, offset: int) -> Placed:
    """A record of `size` bytes whose header is to stand at `offset`."""
    return Placed(name, _local_header(name, size, crc, offset), offset, size, crc)


def build_tail(old: Directory, records: dict[str, bytes], placed: Sequence[Placed] = ()) -> bytes:
    """The bytes to append behind `old.size`, or behind the `placed` records: the records, a new directory, a new end.

    A record that the old directory has is replaced by name and keeps its place in the list (PyTorch takes the archive's
    prefix from the first entry); others are added at the end.
    """
    tail = bytearray()
    entries = {entry.name: entry.raw for entry in old.entries}
    if len(entries) != len(old.entries):
        raise WriteRefused("the archive has two records of the same name")
    begin = placed[-1].end if placed else old.size
    for record in placed:
        entries[record.name] = _central_entry(record.name, record.size, record.crc, record.offset)
    for name, data in records.items():
        offset = begin + len(tail)
        crc = zlib.crc32(data)
        tail += _local_header(name, len(data), crc, offset)
        tail += data
        entries[name] = _central_entry(name, len(data), crc, offset)
    directory = begin + len(tail)
    for raw in entries.values():
        tail += raw
    length = begin + len(tail) - directory
    end64 = begin + len(tail)
    tail += _END64.pack(
        _END64_MAGIC, _END64.size - 12, 0x031E, _ZIP64, 0, 0, len(entries), len(entries), length, directory
    )
    tail += _LOCATOR.pack(_LOCATOR_MAGIC, 0, end64, 1)
    count = min(len(entries), _U16)
    tail += _END.pack(_END_MAGIC, 0, 0, count, count, min(length, _U32), min(directory, _U32), len(old.comment))
    return bytes(tail + old.comment)


def _local_header(name: str, size: int, crc: int, offset: int) -> bytes:
    if size >= _U32:
        raise WriteRefused(f"the record {name} would have {size:,} bytes: below 4 GiB is the limit for what is added")
    encoded = name.encode("utf-8", errors="surrogateescape")
    # An `FB` extra field of `Z` bytes brings the data to a multiple of 64, as in PyTorch's getPadding().
    start = offset + _LOCAL.size + len(encoded) + 4
    padding = -start % ALIGNMENT
    extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    header = _LOCAL.pack(_LOCAL_MAGIC, 20, _UTF8, 0, 0, 0x21, crc, size, size, len(encoded), len(extra))
    return header + encoded + extra


def _central_entry(name: str, size: int, crc: int, offset: int) -> bytes:
    encoded = name.encode("utf-8", errors="surrogateescape")
    far = offset >= _U32
    extra = struct.pack("<HHQ", 1, 8, offset) if far else b""
    return (
        _CENTRAL.pack(
            _CENTRAL_MAGIC, 0, _ZIP64 if far else 20, _UTF8, 0, 0, 0x21, crc, size, size, len(encoded), len(extra), 0,
            0, 0, 0, min(offset, _U32),
        )
        + encoded
        + extra
    )  # fmt: skip


def _pread(fd: int, offset: int, length: int) -> bytes:
    parts = []
    while length > 0 and offset < _FARTHEST:
        part = os.pread(fd, length, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)
