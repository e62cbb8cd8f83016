"""Parses a zip archive's directory the way PyTorch does.

`torch.load` reads archives with miniz 2.1 (third_party/miniz-2.1.0/miniz.c) through
caffe2/serialize/inline_container.cc (`PyTorchStreamReader`). What follows from these two, and is followed here:

- The end record is the last `PK\\5\\6` within 65,557 bytes of the end (`mz_zip_reader_locate_header_sig`); its comment
  length is not looked at, and bytes before the archive are not allowed for.
- Where a zip64 locator stands before it, the zip64 record's numbers are used, whatever the 32-bit ones say
  (`mz_zip_reader_read_central_dir`).
- Data begins behind the local header, with the lengths of name and extra field that stand *there*
  (`PyTorchStreamReader::getRecordOffset`); all else comes from the directory.
- Names are compared without regard to case (`mz_zip_reader_locate_file` with flags 0), checksums are not compared
  (`MINIZ_DISABLE_ZIP_READER_CRC32_CHECKS`), and encrypted or patched entries are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.types import Damage

PACKAGED = ".data/extern_modules"
"""The record by which torch/package/package_importer.py goes; nothing else has it."""
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_NO_32 = 0xFFFFFFFF
_FLAG_ENCRYPTED = 0x0001 | 0x0040 | 0x0020
_FLAG_MASKED = 0x2000
_DOS_FOLDER = 0x10
_FLAG_DESCRIPTOR = 0x0008
_DEFLATED = 8
_MOST_INFLATED = 1032
"""Bytes that DEFLATE makes of one, at most (zlib's technical details)."""

ReadAt = Callable[[int, int], bytes]
"""(offset, count) -> bytes; short at the end of the file."""


class DirectoryError(Exception):
    """The archive has no readable directory."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the archive."""

    name: str
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    """Bytes once inflated."""
    header: int
    """Offset of its local header."""
    data: int = -1
    """Offset of its bytes; -1 when the local header is not one."""
    refused: str = ""
    """Why torch.load refuses the archive for this entry, or takes garbage for it; empty when it does neither."""


@dataclass(frozen=True)
class Directory:
    """The entries in directory order, and what is odd about them."""

    entries: tuple[Entry, ...]
    offset: int
    """Where the central directory begins."""
    end: int
    """Offset of the end record."""
    damage: tuple[Damage, ...] = ()
    others: tuple[Entry, ...] = ()
    """What other readers than torch's take for records: by local headers, or by another place of the directory."""


@dataclass(frozen=True)
class _End:
    """What the end record, or the zip64 record, says of the directory."""

    at: int
    """Offset of the end record."""
    count: int
    length: int
    offset: int
    shift: int
    """How far from `offset` the directory stands if it ends where the end record begins."""
    sound: bool
    """Whether torch accepts the record's other fields (`mz_zip_reader_read_central_dir`)."""


def read_directory(read_at: ReadAt, size: int) -> Directory:
    """Parse end record, central directory and local headers.

    Raises:
        DirectoryError: no end record, or it points to something that is no directory.
    """
    end = _find_end(read_at, size)
    if not end.sound:
        raise DirectoryError("its end record is damaged")
    entries = _central(read_at, end, 0)
    directory = _with_local_headers(entries, read_at, size, end)
    if end.shift == 0:
        return directory
    message = f"the directory stands {abs(end.shift):,} bytes from its end record: readers differ in what they see"
    damage = Damage("name-conflict", message, where=f"byte {end.offset}")
    return replace(
        directory,
        damage=(*directory.damage, damage),
        others=(*directory.others, *_shifted(read_at, size, end)),
    )


def read_appended(read_at: ReadAt, size: int) -> tuple[Entry, ...]:
    """The records of an archive that stands at the end of a file of another kind; most files have none."""
    try:
        end = _find_end(read_at, size)
    except DirectoryError:
        return ()
    try:
        directory = _with_local_headers(_central(read_at, end, 0), read_at, size, end)
    except DirectoryError:
        return _shifted(read_at, size, end)
    return (*directory.entries, *directory.others)


def begin_of_last(read_at: ReadAt, size: int) -> int | None:
    """The first byte of the last of several archives in a row: as far before its end record as that says itself."""
    start = max(0, size - 4096)
    tail = read_at(start, size - start)
    found = tail.rfind(b"PK\x05\x06", 0, max(0, len(tail) - _END.size + 4))
    if found < 0:
        return None
    behind = start + found
    *_, length, offset, _ = _END.unpack_from(tail, found)
    before = behind - _END64_LOCATOR.size - _END64.size
    record = read_at(before, _END64.size + 4) if before >= 0 else b""
    if record[:4] == b"PK\x06\x06" and record[_END64.size :] == b"PK\x06\x07":
        *_, length, offset = _END64.unpack_from(record)
        behind = before
    begin: int = behind - length - offset
    return begin if 0 <= begin < size else None


def _shifted(read_at: ReadAt, size: int, end: _End) -> tuple[Entry, ...]:
    """The records that readers see which look for the directory right before its end record (Python's `zipfile`)."""
    try:
        entries = _central(read_at, end, end.shift)
    except DirectoryError:
        return ()
    moved = [replace(entry, header=entry.header + end.shift) for entry in entries]
    directory = _with_local_headers(moved, read_at, size, end)
    return (*directory.entries, *directory.others)


def _find_end(read_at: ReadAt, size: int) -> _End:
    tail_at = max(0, size - 0xFFFF - _END.size)
    tail = b""
    for start in (max(0, size - 4096), tail_at):
        tail_at, tail = start, read_at(start, size - start)
        found = tail.rfind(b"PK\x05\x06", 0, max(0, len(tail) - _END.size + 4))
        if found >= 0 or start == 0:
            break
    if found < 0:
        raise DirectoryError("it has no end record")
    at = behind = tail_at + found
    _, disk, first, here, count, length, offset, _ = _END.unpack_from(tail, found)
    sound = here == count and (disk, first) in ((0, 0), (1, 1))
    located = read_at(at - _END64_LOCATOR.size, _END64_LOCATOR.size) if at >= _END64_LOCATOR.size else b""
    if located[:4] == b"PK\x06\x07":
        _, _, wide_at, disks = _END64_LOCATOR.unpack(located)
        record = read_at(wide_at, _END64.size) if wide_at + _END64.size <= size else b""
        before = at - _END64_LOCATOR.size - _END64.size
        elsewhere = record[:4] != b"PK\x06\x06" and before >= 0
        if elsewhere:  # an archive behind other data: right before the locator, where Python's zipfile looks
            record = read_at(before, _END64.size)
        if record[:4] == b"PK\x06\x06":
            _, rest, _, _, disk, first, here, count, length, offset = _END64.unpack(record)
            sound = here == count and (disk, first, disks) in ((0, 0, 1), (1, 1, 1)) and rest >= _END64.size - 12
            behind -= _END64_LOCATOR.size + _END64.size
            # torch finds no record there: it goes by the locator, which nothing has moved
            sound = sound and not (elsewhere and behind == length + offset)
    if offset + length > size or length < count * _CENTRAL.size:
        raise DirectoryError("its end record points beyond the end of the file")
    if count > limits.MAX_ENTRIES:
        raise DirectoryError(f"it claims {count:,} entries")
    return _End(at, count, length, offset, behind - length - offset, sound)


def _central(read_at: ReadAt, end: _End, shift: int) -> list[Entry]:
    raw = read_at(end.offset + shift, end.length)
    entries = []
    at = 0
    for _ in range(end.count):
        if len(raw) - at < _CENTRAL.size or raw[at : at + 4] != b"PK\x01\x02":
            raise DirectoryError("its directory is damaged")
        (
            _,
            _,
            _,
            flags,
            method,
            _,
            _,
            crc,
            compressed,
            size,
            name_length,
            extra_length,
            comment_length,
            disk,
            _,
            attributes,
            header,
        ) = _CENTRAL.unpack_from(raw, at)
        at += _CENTRAL.size
        name = raw[at : at + name_length]
        extra = raw[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment_length
        if at > len(raw):
            raise DirectoryError("its directory is damaged")
        if _NO_32 in (compressed, size, header):
            size, compressed, header = _zip64(extra, size, compressed, header)
        # A folder's own entry (`zip -r` writes them) is read by nobody
        is_folder = size == 0 and name.endswith(b"/")
        refused = _refused(flags, method, compressed, size, disk, 0 if is_folder else attributes)
        entries.append(Entry(_name(name, flags), flags, method, crc, compressed, size, header, -1, refused))
    return entries


def _refused(flags: int, method: int, compressed: int, size: int, disk: int, attributes: int) -> str:
    # `mz_zip_reader_read_central_dir`, `mz_zip_reader_is_file_a_directory`, `mz_zip_reader_extract_to_mem_no_alloc1`
    if flags & (_FLAG_ENCRYPTED | _FLAG_MASKED):
        return "it is marked as encrypted or patched, which torch.load refuses and other readers ignore"
    if disk not in (0, 1):
        return f"it is said to lie on disk {disk:,}: torch.load refuses the archive"
    if method == 0 and compressed != size:
        return f"it is stored as it is, yet has two sizes ({compressed:,} and {size:,}): torch.load refuses the archive"
    if method == _DEFLATED and size > _MOST_INFLATED * max(compressed, 1):
        return f"its {compressed:,} compressed bytes cannot become {size:,}: torch.load refuses them"
    if attributes & _DOS_FOLDER:
        return "it is marked as a folder: torch.load takes whatever memory holds for its bytes"
    return ""


def _zip64(extra: bytes, *fields: int) -> tuple[int, int, int]:
    """Sizes and offset with those that do not fit 32 bits taken from the extra field (APPNOTE 4.5.3)."""
    at = 0
    wide = b""
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = extra[at + 4 : at + 4 + length]
            break
        at += 4 + length
    result = []
    for value in fields:
        if value == _NO_32 and len(wide) >= 8:
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        result.append(value)
    return result[0], result[1], result[2]


def _name(raw: bytes, flags: int) -> str:
    # Bit 11 says UTF-8, which torch sets; without it the names are code page 437
    if raw.isascii():
        return raw.decode("ascii")
    return raw.decode("utf-8", "backslashreplace") if flags & 0x800 else raw.decode("cp437")


def _with_local_headers(entries: list[Entry], read_at: ReadAt, size: int, end: _End) -> Directory:
    """Read each local header for the place of the data, and compare what it says with the directory."""
    damage: list[Damage] = []
    others: list[Entry] = []
    window, window_at = b"", 0
    placed: list[Entry] = [*entries]
    for index in sorted(range(len(entries)), key=lambda i: entries[i].header):
        entry = entries[index]
        header, need = entry.header, LOCAL_HEADER.size + len(entry.name) + 64
        at = header - window_at
        if at < 0 or at + need > len(window):
            if header >= size:
                damage.append(_lost(entry))
                continue
            # Small archives come in one piece; between large records only the headers are read
            following = 1 << 14 if entry.size < 4096 else need
            window_at, window, at = header, read_at(header, min(following, size - header)), 0
        if len(window) - at < LOCAL_HEADER.size or window[at : at + 4] != b"PK\x03\x04":
            damage.append(_lost(entry))
            continue
        _, _, flags, method, _, _, crc, packed, unpacked, name_length, extra_length = LOCAL_HEADER.unpack_from(
            window, at
        )
        data = header + LOCAL_HEADER.size + name_length + extra_length
        placed[index] = Entry(
            entry.name, entry.flags, entry.method, entry.crc, entry.compressed, entry.size, header, data
        )
        name_at = at + LOCAL_HEADER.size
        local = window[name_at : name_at + name_length]
        if len(local) < name_length:
            local = read_at(header + LOCAL_HEADER.size, name_length)
        differs = _differences(entry, _name(local, flags), flags, method, crc, packed, unpacked)
        if differs:
            others.append(
                Entry(
                    _name(local, flags),
                    flags,
                    method,
                    crc,
                    packed or entry.compressed,
                    unpacked or entry.size,
                    header,
                    data,
                )
            )
            damage.append(
                Damage("name-conflict", f"local header and directory differ ({differs})", where=shown(entry.name))
            )
        if header + LOCAL_HEADER.size + entry.compressed > size:  # `mz_zip_reader_read_central_dir`
            message = f"its {entry.compressed:,} bytes reach beyond the end of the file: torch.load refuses the archive"
            damage.append(Damage("missing-record", message, where=shown(entry.name)))
        if entry.refused:
            damage.append(Damage("name-conflict", entry.refused, where=shown(entry.name)))
    damage += _duplicates(entries)
    if len(damage) > limits.MAX_DAMAGE:
        rest = len(damage) - limits.MAX_DAMAGE
        damage = [*damage[: limits.MAX_DAMAGE], Damage(damage[0].kind, f"{rest:,} more records are damaged")]
    return Directory(tuple(placed), end.offset, end.at, tuple(damage), tuple(others))


def _lost(entry: Entry) -> Damage:
    message = "the directory lists the record, but no local header stands where it points"
    return Damage("missing-record", message, where=shown(entry.name), found=entry.header)


def _differences(entry: Entry, name: str, flags: int, method: int, crc: int, packed: int, unpacked: int) -> str:
    differs = []
    if name != entry.name:
        differs.append(f"name {shown(name)!r}")
    if method != entry.method:
        differs.append(f"compression {method} and {entry.method}")
    if (flags ^ entry.flags) & _FLAG_ENCRYPTED:
        differs.append("encryption flag")
    if not flags & _FLAG_DESCRIPTOR:  # with bit 3 the local header leaves sizes and checksum to a descriptor
        for what, local, central in (("size", unpacked, entry.size), ("compressed size", packed, entry.compressed)):
            if local not in (central, _NO_32):
                differs.append(f"{what} {local:,} and {central:,}")
        if crc not in (entry.crc, 0):
            differs.append("checksum")
    return ", ".join(differs)


def _duplicates(entries: list[Entry]) -> list[Damage]:
    seen: dict[str, Entry] = {}
    damage = []
    for entry in entries:
        first = seen.setdefault(entry.name.lower(), entry)
        if first is not entry:
            places = f"{first.header:,} and {entry.header:,}"
            message = f"two records have this name, at {places}; readers differ in which they take"
            damage.append(Damage("name-conflict", message, where=shown(entry.name)))
    return damage


def first_folder(directory: Directory) -> str:
    """The folder in which torch looks for all records: the first entry's (`PyTorchStreamReader::init`)."""
    return directory.entries[0].name.partition("/")[0] + "/" if directory.entries else ""


def archive_prefix(directory: Directory) -> str | None:
    """The folder that all records stand in, with its slash: torch's, else that of the shortest `.../data.pkl`.

    None when there is no `data.pkl`, and for a package, whose reader looks for other records.
    """
    found = [
        e.name[: -len("data.pkl")] for e in directory.entries if e.name == "data.pkl" or e.name.endswith("/data.pkl")
    ]
    first = first_folder(directory)
    if first not in found and any(entry.name == first + PACKAGED for entry in directory.entries):
        return None
    return first if first in found else min(found, key=len, default=None)
