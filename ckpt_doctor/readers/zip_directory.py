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
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.inert.zip_structures import (
    CENTRAL,
    DEFLATED,
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    ENCRYPTED,
    END,
    END64,
    END64_MAGIC,
    END_MAGIC,
    LOCAL,
    LOCAL_MAGIC,
    LOCATOR,
    LOCATOR_MAGIC,
    MASKED,
    MOST_32,
    STORED,
    CentralEntry,
    Directory,
    DirectoryError,
    End,
    Entry,
    LocalHeader,
    ReadAt,
    central_entries,
    decoded,
    find_end,
    new,
)
from ckpt_doctor.readers.zip_far import Far, places
from ckpt_doctor.types import Damage

PACKAGED = ".data/extern_modules"
"""The record by which torch/package/package_importer.py goes; nothing else has it."""
_DOS_FOLDER = 0x10
_CLOSE, _MOST_AT_ONCE = 1 << 12, 1 << 14
"""Bytes from one local header to the next up to which both are read at once, and of such a read."""
_MOST_DESCRIPTOR = 24
"""Bytes behind a record: a signature, its checksum and its two sizes (APPNOTE.TXT 4.3.9)."""
_LENGTHS = struct.Struct("<2H").unpack_from
"""Of name and extra field, at the end of a local header."""
_MOST_INFLATED = 1032
"""Bytes that DEFLATE makes of one, at most (zlib's technical details)."""


def read_directory(read_at: ReadAt, size: int, far: Far | None = None) -> Directory:
    """Parse end record, central directory and local headers; of a file that is `far`, only the headers that are needed.

    Raises:
        DirectoryError: no end record, or it points to something that is no directory.
    """
    end = _find_end(read_at, size)
    if not end.sound:
        raise DirectoryError("its end record is damaged")
    entries = _central(read_at, end, 0)
    directory = _with_local_headers(entries, read_at, size, end, far)
    if end.shift == 0:
        return directory
    message = f"the directory is {abs(end.shift):,} bytes away from its end record: readers see different contents"
    damage = Damage("name-conflict", message, where=f"byte {end.offset}")
    return replace(
        directory,
        damage=(*directory.damage, damage),
        others=(*directory.others, *_shifted(read_at, size, end)),
    )


def read_appended(read_at: ReadAt, size: int) -> tuple[Entry, ...]:
    """The records of an archive at the end of a file of another kind; most files have none."""
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
    found = tail.rfind(END_MAGIC, 0, max(0, len(tail) - END.size + 4))
    if found < 0:
        return None
    behind = start + found
    *_, length, offset, _ = END.unpack_from(tail, found)
    before = behind - LOCATOR.size - END64.size
    record = read_at(before, END64.size + 4) if before >= 0 else b""
    if record[:4] == END64_MAGIC and record[END64.size :] == LOCATOR_MAGIC:
        *_, length, offset = END64.unpack_from(record)
        behind = before
    begin: int = behind - length - offset
    return begin if 0 <= begin < size else None


def _shifted(read_at: ReadAt, size: int, end: End) -> tuple[Entry, ...]:
    """The records that readers see which look for the directory right before its end record (Python's `zipfile`)."""
    try:
        entries = _central(read_at, end, end.shift)
    except DirectoryError:
        return ()
    moved = [entry._replace(header=entry.header + end.shift) for entry in entries]
    directory = _with_local_headers(moved, read_at, size, end)
    return (*directory.entries, *directory.others)


def _find_end(read_at: ReadAt, size: int) -> End:
    end = find_end(read_at, size)
    if end.offset + end.length > size or end.length < end.count * CENTRAL.size:
        raise DirectoryError("its end record points beyond the end of the file")
    if end.count > limits.MAX_ENTRIES:
        raise DirectoryError(f"it claims {end.count:,} entries")
    return end


def _central(read_at: ReadAt, end: End, shift: int) -> list[Entry]:
    entries = list(islice(central_entries(read_at(end.offset + shift, end.length), _refused), end.count))
    if len(entries) < end.count:
        raise DirectoryError("its directory is damaged")
    return entries


def _refused(entry: CentralEntry, name: bytes) -> str:
    # `mz_zip_reader_read_central_dir`, `mz_zip_reader_is_file_a_directory`, `mz_zip_reader_extract_to_mem_no_alloc1`
    size, compressed = entry.size, entry.compressed
    if entry.flags & (ENCRYPTED | MASKED):
        return "it is marked as encrypted or patched, which torch.load refuses and other readers ignore"
    if entry.disk not in (0, 1):
        return f"the directory places it on disk {entry.disk:,}: torch.load refuses the archive"
    if entry.method == STORED and compressed != size:
        return f"it is not compressed, yet has two sizes ({compressed:,} and {size:,}): torch.load refuses the archive"
    if entry.method == DEFLATED and size > _MOST_INFLATED * max(compressed, 1):
        return f"its {compressed:,} compressed bytes cannot become {size:,}: torch.load refuses them"
    # A folder's own entry (`zip -r` writes them) is read by nobody
    if entry.attributes & _DOS_FOLDER and not (size == 0 and name.endswith(b"/")):
        return "it is marked as a folder: torch.load reads uninitialised memory as its bytes"
    return ""


def _with_local_headers(
    entries: list[Entry], read_at: ReadAt, size: int, end: End, far: Far | None = None
) -> Directory:
    """Read each local header for the place of the data, and compare what it says with the directory."""
    unread = places(entries, end.offset, far) if far is not None else {}
    damage: list[Damage] = []
    others: list[Entry] = []
    is_held = size <= _MOST_AT_ONCE and far is None
    window, window_at = read_at(0, size) if is_held else b"", 0
    nowhere = size, b""
    behind, stored = nowhere  # where the last record ends, and its checksum in the directory
    strangers: list[str] = []
    placed: list[Entry] = [*entries]
    order = sorted(range(len(entries)), key=lambda i: entries[i].header)
    by_place = [entries[i] for i in order]
    for rank, (index, entry) in enumerate(zip(order, by_place, strict=True)):
        header = entry.header
        if index in unread:
            placed[index] = entry._replace(data=unread[index])
            damage += _refusals(entry, size)
            continue
        at, raw = header - window_at, entry.raw
        if not is_held and (at < 0 or at + _length(entry) > len(window)):
            if header >= size:
                damage.append(_lost(entry))
                continue
            alone = far is not None or (rank + 1 < len(order) and by_place[rank + 1].header - header > _CLOSE)
            stretch = _length(entry) if alone else _stretch(by_place, rank)
            before = header - behind if 0 <= header - behind <= _MOST_DESCRIPTOR else 0
            window_at, at = header - before, before
            window = read_at(window_at, before + min(stretch, size - header))
        if len(window) - at < LOCAL.size or window[at : at + 4] != LOCAL_MAGIC:
            damage.append(_lost(entry))
            continue
        name_length, extra_length = _LENGTHS(window, at + LOCAL.size - 4)
        data = header + LOCAL.size + name_length + extra_length
        placed[index] = new(Entry, (*entry[:7], data, *entry[8:]))
        if behind >= window_at:
            found = window[behind - window_at : behind - window_at + 8]
            if found[:4] == DESCRIPTOR_MAGIC and found[4:] != stored:
                strangers.append(by_place[rank - 1].name)
        described = entry.flags & DESCRIPTOR and entry.crc
        behind, stored = (data + entry.compressed, raw[16:20]) if described else nowhere
        name = window[at + LOCAL.size : at + LOCAL.size + name_length]
        if len(name) < name_length:
            name = read_at(header + LOCAL.size, name_length)
        # flags and method, the name's length, the name
        alike = window[at + 6 : at + 10] == raw[8:12] and window[at + 26 : at + 28] == raw[28:30]
        alike = alike and name == raw[CENTRAL.size : CENTRAL.size + name_length]
        if not (alike and entry.flags & DESCRIPTOR):  # otherwise nothing else stands in both places
            local = LocalHeader._make(LOCAL.unpack_from(window, at))
            other = decoded(name, local.flags)
            if differs := _differences(entry, other, local):
                sizes = local.compressed or entry.compressed, local.size or entry.size
                others.append(Entry(other, local.flags, local.method, local.crc, *sizes, header, data))
                message = f"local header and directory differ ({differs})"
                damage.append(Damage("name-conflict", message, where=shown(entry.name)))
        if entry.refused or data + entry.compressed > size:
            damage += _refusals(placed[index], size)
    damage += _duplicates(entries)
    if strangers:
        message = (
            f"behind {len(strangers):,} of {len(entries):,} records is another checksum than in the directory: several "
            "processes saved to this path at the same time, or a copy over an older file broke off"
        )
        damage.append(Damage("name-conflict", message, where=shown(strangers[0])))
    if len(damage) > limits.MAX_DAMAGE:
        rest = len(damage) - limits.MAX_DAMAGE
        damage = [*damage[: limits.MAX_DAMAGE], Damage(damage[0].kind, f"{rest:,} more records are damaged")]
    return Directory(
        tuple(placed), end.offset, end.at, size, damage=tuple(damage), unread=len(unread), others=tuple(others)
    )


def _refusals(entry: Entry, size: int) -> Iterator[Damage]:
    """Why torch refuses an archive for what its directory says of a record."""
    # `mz_zip_reader_read_central_dir`, `mz_zip_reader_extract_to_mem_no_alloc1`
    if max(entry.header + LOCAL.size, entry.data) + entry.compressed > size:
        message = f"its {entry.compressed:,} bytes reach beyond the end of the file: torch.load refuses the archive"
        yield Damage("missing-record", message, where=shown(entry.name))
    if entry.refused:
        yield Damage("name-conflict", entry.refused, where=shown(entry.name))


def _length(entry: Entry) -> int:
    """Bytes of a local header, and more: what its extra field has is not in the directory."""
    return LOCAL.size + len(entry.name) + 64


def _stretch(entries: list[Entry], first: int) -> int:
    """Bytes to read from a header on: small records come in one piece, of large ones only the headers."""
    begin = last = entries[first].header
    end = begin + _length(entries[first])
    for following in range(first + 1, min(first + _MOST_AT_ONCE // LOCAL.size, len(entries))):
        entry = entries[following]
        if entry.header - last > _CLOSE or entry.header - begin > _MOST_AT_ONCE:
            break
        last = entry.header
        end = max(end, last + _length(entry))
    return end - begin


def _lost(entry: Entry) -> Damage:
    message = "the directory lists the record, but there is no local header where it points"
    return Damage("missing-record", message, where=shown(entry.name), found=entry.header)


def _differences(entry: Entry, name: str, local: LocalHeader) -> str:
    differs = []
    if name != entry.name:
        differs.append(f"name {shown(name)!r}")
    if local.method != entry.method:
        differs.append(f"compression {local.method} and {entry.method}")
    if (local.flags ^ entry.flags) & ENCRYPTED:
        differs.append("encryption flag")
    if not local.flags & DESCRIPTOR:
        for what, here, central in (
            ("size", local.size, entry.size),
            ("compressed size", local.compressed, entry.compressed),
        ):
            if here not in (central, MOST_32):
                differs.append(f"{what} {here:,} and {central:,}")
        if local.crc not in (entry.crc, 0):
            differs.append("checksum")
    return ", ".join(differs)


def _duplicates(entries: list[Entry]) -> list[Damage]:
    if len({entry.name.lower() for entry in entries}) == len(entries):
        return []
    seen: dict[str, Entry] = {}
    damage = []
    for entry in entries:
        first = seen.setdefault(entry.name.lower(), entry)
        if first is not entry:
            places = f"{first.header:,} and {entry.header:,}"
            message = f"two records have this name, at {places}; readers do not agree which one they read"
            damage.append(Damage("name-conflict", message, where=shown(entry.name)))
    return damage


def first_folder(directory: Directory) -> str:
    """The folder in which torch looks for all records: the first entry's (`PyTorchStreamReader::init`)."""
    return directory.entries[0].name.partition("/")[0] + "/" if directory.entries else ""


def archive_prefix(directory: Directory) -> str | None:
    """The folder that contains all records, with its slash: torch's, else that of the shortest `.../data.pkl`.

    None when there is no `data.pkl`, and for a package, whose reader looks for other records.
    """
    found = [
        e.name[: -len("data.pkl")] for e in directory.entries if e.name == "data.pkl" or e.name.endswith("/data.pkl")
    ]
    first = first_folder(directory)
    if first not in found and any(entry.name == first + PACKAGED for entry in directory.entries):
        return None
    return first if first in found else min(found, key=len, default=None)
