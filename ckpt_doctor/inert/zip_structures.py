"""The structures of a zip archive (APPNOTE.TXT 4.3), declared once for the readers and the writer."""

from __future__ import annotations

import struct
from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ckpt_doctor.types import Damage
from ckpt_doctor.types.record import record

ReadAt = Callable[[int, int], bytes]
"""(offset, count) -> bytes; short at the end of the file."""
new = tuple.__new__
"""Makes a named tuple of its values in a fifth of the time: an archive has thousands."""

LOCAL, LOCAL_MAGIC = struct.Struct("<4s5H3I2H"), b"PK\x03\x04"
LocalHeader = namedtuple(
    "LocalHeader", "magic needs flags method time date crc compressed size name_length extra_length"
)
CENTRAL, CENTRAL_MAGIC = struct.Struct("<4s6H3I5H2I"), b"PK\x01\x02"
CentralEntry = namedtuple(
    "CentralEntry",
    "magic made_by needs flags method time date crc compressed size name_length extra_length comment_length disk "
    "internal attributes header",
)
END, END_MAGIC = struct.Struct("<4s4H2IH"), b"PK\x05\x06"
END64, END64_MAGIC = struct.Struct("<4sQ2H2I4Q"), b"PK\x06\x06"
LOCATOR, LOCATOR_MAGIC = struct.Struct("<4sIQI"), b"PK\x06\x07"
DESCRIPTOR_MAGIC = b"PK\x07\x08"

STORED, DEFLATED = 0, 8
UTF8 = 0x0800
ENCRYPTED = 0x0001 | 0x0040 | 0x0020
MASKED = 0x2000
DESCRIPTOR = 0x0008
"""Flag: sizes and checksum stand behind the data, not in the local header."""
MOST_16, MOST_32 = 0xFFFF, 0xFFFFFFFF
"""The latter in a field: its value stands in the zip64 extra field."""
_ZIP64 = 1
ALIGNMENT = 64
"""Record data begins at multiples of this (`kFieldAlignment`, caffe2/serialize/inline_container.h)."""


class DirectoryError(Exception):
    """The archive has no readable directory."""


class Entry(NamedTuple):
    """One record of an archive."""

    name: str
    flags: int
    method: int
    crc: int
    compressed: int
    """Bytes in the file."""
    size: int
    """Bytes once inflated."""
    header: int
    """Offset of its local header."""
    data: int = -1
    """Offset of its bytes; -1 when the local header is not one, or was not read."""
    refused: str = ""
    """Why torch.load refuses the archive for this entry, or takes garbage for it; empty when it does neither."""
    raw: bytes = b""
    """Its entry in the directory, as it stands in the file."""

    @property
    def listed(self) -> bytes:
        """Its name in the directory."""
        return self.raw[CENTRAL.size : CENTRAL.size + int.from_bytes(self.raw[28:30], "little")]


@record(frozen=True)
class Directory:
    """The entries in directory order, and what is odd about them."""

    entries: tuple[Entry, ...]
    offset: int
    """Where the central directory begins."""
    end: int
    """Offset of the end record."""
    size: int
    """Of the archive: its end record, and a comment, end here."""
    comment: bytes = b""
    damage: tuple[Damage, ...] = ()
    unread: int = 0
    """Local headers that were not read, since each would have been a request to a server."""
    others: tuple[Entry, ...] = ()
    """What other readers than torch's take for records: by local headers, or by another place of the directory."""

    def find(self, name: str) -> Entry | None:
        """The entry of that name."""
        return next((entry for entry in self.entries if entry.name == name), None)


@record(frozen=True)
class End:
    """What the end record, or the zip64 record, says of the directory."""

    at: int
    """Offset of the end record."""
    comment_length: int
    disks: tuple[int, int]
    count: int
    length: int
    offset: int
    shift: int
    """How far from `offset` the directory stands if it ends where the end record begins."""
    sound: bool
    """Whether torch accepts the record's other fields (`mz_zip_reader_read_central_dir`)."""
    elsewhere: bool
    """Whether the zip64 record is not where its locator points."""


def find_end(read_at: ReadAt, size: int) -> End:
    """The end record of an archive of `size` bytes. Raises `DirectoryError` where there is none."""
    for tail_at in (max(0, size - 4096), max(0, size - MOST_16 - END.size)):
        tail = read_at(tail_at, size - tail_at)
        found = tail.rfind(END_MAGIC, 0, max(0, len(tail) - END.size + 4))
        if found >= 0 or tail_at == 0:
            break
    if found < 0:
        raise DirectoryError("it has no end record")
    at = behind = tail_at + found
    _, disk, first, here, count, length, offset, comment_length = END.unpack_from(tail, found)
    sound = here == count and (disk, first) in ((0, 0), (1, 1))
    elsewhere = False
    located = read_at(at - LOCATOR.size, LOCATOR.size) if at >= LOCATOR.size else b""
    if located[:4] == LOCATOR_MAGIC:
        _, _, wide_at, disks = LOCATOR.unpack(located)
        record = read_at(wide_at, END64.size) if wide_at + END64.size <= size else b""
        before = at - LOCATOR.size - END64.size
        elsewhere = record[:4] != END64_MAGIC
        if elsewhere and before >= 0:  # an archive behind other data: where Python's zipfile looks
            record = read_at(before, END64.size)
        if record[:4] == END64_MAGIC:
            _, rest, _, _, disk, first, here, count, length, offset = END64.unpack(record)
            sound = here == count and (disk, first, disks) in ((0, 0, 1), (1, 1, 1)) and rest >= END64.size - 12
            behind = before
            # torch finds no record there: it goes by the locator, which nothing has moved
            sound = sound and not (elsewhere and behind == length + offset)
    return End(at, comment_length, (disk, first), count, length, offset, behind - length - offset, sound, elsewhere)


def central_entries(
    raw: bytes, refused: Callable[[CentralEntry, bytes], str] = lambda entry, name: "", errors: str = "backslashreplace"
) -> Iterator[Entry]:
    """The entries of a directory, until it ends. Raises `DirectoryError` at bytes that are no entry.

    `refused` says what is wrong with one of a name; `errors` is how a name's bytes are decoded that are no UTF-8.
    """
    at = 0
    while at < len(raw):
        if len(raw) - at < CENTRAL.size or raw[at : at + 4] != CENTRAL_MAGIC:
            raise DirectoryError("its directory is damaged")
        entry = new(CentralEntry, CENTRAL.unpack_from(raw, at))
        name_at = at + CENTRAL.size
        extra_at = name_at + entry.name_length
        end = extra_at + entry.extra_length + entry.comment_length
        if end > len(raw):
            raise DirectoryError("its directory is damaged")
        name = raw[name_at:extra_at]
        if MOST_32 in (entry.compressed, entry.size, entry.header):
            entry = _widened(entry, raw[extra_at : extra_at + entry.extra_length])
        text, flags, why = decoded(name, entry.flags, errors), entry.flags, refused(entry, name)
        sizes = entry.compressed, entry.size
        yield new(Entry, (text, flags, entry.method, entry.crc, *sizes, entry.header, -1, why, raw[at:end]))
        at = end


def _widened(entry: CentralEntry, extra: bytes) -> CentralEntry:
    """Sizes and offset with those that do not fit 32 bits taken from the extra field (APPNOTE 4.5.3)."""
    at = 0
    wide = b""
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64:
            wide = extra[at + 4 : at + 4 + length]
            break
        at += 4 + length
    for field in ("size", "compressed", "header"):
        if getattr(entry, field) == MOST_32 and len(wide) >= 8:
            entry = entry._replace(**{field: int.from_bytes(wide[:8], "little")})
            wide = wide[8:]
    return entry


def decoded(name: bytes, flags: int, errors: str = "backslashreplace") -> str:
    """A record's name."""
    # Bit 11 says UTF-8, which torch sets; without it the names are code page 437
    if name.isascii():
        return name.decode("ascii")
    return name.decode("utf-8", errors) if flags & UTF8 else name.decode("cp437")


def local_header(name: bytes, size: int, crc: int, offset: int) -> bytes:
    """The local header, to stand at `offset`, of a stored record of less than 4 GiB."""
    extra = padding(offset + LOCAL.size + len(name))
    return LOCAL.pack(LOCAL_MAGIC, 20, UTF8, 0, 0, 0x21, crc, size, size, len(name), len(extra)) + name + extra


def central_entry(name: bytes, size: int, crc: int, offset: int) -> bytes:
    """The directory's entry of a record with such a header."""
    far = offset >= MOST_32
    extra = struct.pack("<HHQ", _ZIP64, 8, offset) if far else b""
    lengths = (len(name), len(extra), 0)
    fixed = (CENTRAL_MAGIC, 0, 45 if far else 20, UTF8, 0, 0, 0x21, crc, size, size)
    return CENTRAL.pack(*fixed, *lengths, 0, 0, 0, min(offset, MOST_32)) + name + extra


def end_records(count: int, length: int, offset: int, comment: bytes = b"") -> bytes:
    """The end of an archive whose directory has `count` entries and stands at `offset`, with zip64 records always."""
    wide = END64.pack(END64_MAGIC, END64.size - 12, 0x031E, 45, 0, 0, count, count, length, offset)
    locator = LOCATOR.pack(LOCATOR_MAGIC, 0, offset + length, 1)
    few = min(count, MOST_16)
    end = END.pack(END_MAGIC, 0, 0, few, few, min(length, MOST_32), min(offset, MOST_32), len(comment))
    return wide + locator + end + comment


def padding(start: int) -> bytes:
    """The extra field at `start`, of type `FB` and filled with `Z`, that aligns a record's data (`getPadding`)."""
    count = -(start + 4) % ALIGNMENT
    return b"FB" + count.to_bytes(2, "little") + b"Z" * count
