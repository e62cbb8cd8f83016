"""The records of a zip archive: their bytes, and the pickles among them, whatever they are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import Reading, shown
from ckpt_doctor.inert.zip_structures import DEFLATED, STORED, Entry
from ckpt_doctor.readers.neighbours import object_pickle
from ckpt_doctor.readers.programs import Programs, read_disguised, read_program
from ckpt_doctor.readers.source import Source
from ckpt_doctor.types import Damage

UNLIKE_ITS_CHECKSUM = "the bytes do not match the stored checksum, which torch.load never compares"
DESCRIPTION_CHANGED = UNLIKE_ITS_CHECKSUM + ": the description of all tensors is not what was saved"

_MOST_PLAIN = 64
"""Bytes of a record in which a word may be all there is, as in torch's `version` and `byteorder`."""


def other_pickles(programs: Programs, source: Source, entries: Iterable[Entry]) -> None:
    """Take up every pickle of an archive beside the main one, also those in arrays of Python objects.

    Names decide only whether a record that stops being a pickle is damaged: programs load `.pickle`, `.joblib` and
    records without a suffix too. Each place of the file is read once, for entries can be made to overlap.
    """
    read: set[tuple[int, int, bool]] = set()
    left = limits.MAX_UNLISTED_BYTES
    for entry in entries:
        named = entry.name.lower().endswith(".pkl")
        place = (entry.data, entry.method, named)
        if place in read:
            continue
        read.add(place)
        if named:
            read_program(programs, record(source, entry, programs.damage), 0, None, shown(entry.name))
        elif left > 0:
            left -= _by_content(programs, source, entry)
            if left <= 0:
                message = "from here on records are not searched for pickles: those before were too long"
                programs.damage.append(Damage("limit-exceeded", message, where=shown(entry.name)))


def _by_content(programs: Programs, source: Source, entry: Entry) -> int:
    """Read a record of any name as a pickle as far as it is one; returns how many bytes that took."""
    head = _head(source, entry, _MOST_PLAIN)
    if entry.size <= _MOST_PLAIN and head.strip().isalnum():
        return len(head)  # a word or a number: what names something has more than letters and digits
    if head[:6] == b"\x93NUMPY":
        start = object_pickle(_head(source, entry, 1 << 12))
        if start is None:
            return 0
        raw = record(source, entry, programs.damage)
        read_program(programs, raw, start, None, shown(entry.name))
        return len(raw)
    return read_disguised(programs, lambda count: _head(source, entry, count), shown(entry.name))


def _head(source: Source, entry: Entry, count: int) -> bytes:
    """The first bytes of a record."""
    if entry.method == STORED:
        return source.read_at(entry.data, min(entry.size, count))
    packed = entry.compressed
    if entry.method == DEFLATED:  # which takes little more room than what it becomes
        packed = min(packed, count + (count >> 8) + 64)
    return record(source, entry._replace(size=min(entry.size, count), compressed=packed), [])


def record(view: Source, entry: Entry, damage: list[Damage]) -> bytes:
    """The bytes of a record, inflated within limits; empty, with damage, where they cannot be had."""
    if entry.data < 0:
        return b""
    if entry.size > limits.MAX_PROGRAM_BYTES:
        damage.append(
            Damage("limit-exceeded", f"a pickle of {entry.size:,} bytes is not read", where=shown(entry.name))
        )
        return b""
    if entry.method == STORED:
        raw = view.read_at(entry.data, entry.size)
        if len(raw) < entry.size:
            message = f"{len(raw):,} of its {entry.size:,} bytes are there"
            damage.append(
                Damage("missing-record", message, where=shown(entry.name), found=len(raw), expected=entry.size)
            )
        return raw
    packed = view.read_at(entry.data, entry.compressed)
    bound = min(entry.size, limits.inflated(len(packed)))
    if entry.method != DEFLATED:
        message = f"compression method {entry.method} is unknown to torch.load"
        damage.append(Damage("missing-record", message, where=shown(entry.name)))
        return _unpacked(packed, entry.method, bound)  # which zipfile knows, and with it numpy
    import zlib  # torch compresses nothing

    inflater = zlib.decompressobj(-15)
    try:
        raw = inflater.decompress(packed, max(bound, 1))
    except zlib.error:
        damage.append(Damage("corrupt-record", "the compressed data is damaged", where=shown(entry.name)))
        return b""
    if bound < entry.size and not inflater.eof:
        message = f"the record inflates from {len(packed):,} to more than {bound:,} bytes"
        damage.append(Damage("limit-exceeded", message, where=shown(entry.name)))
    return raw


def _unpacked(packed: bytes, method: int, bound: int) -> bytes:
    """Content that is compressed with bzip2 or LZMA, up to `bound` bytes; empty for what is damaged or unknown."""
    import bz2  # few archives need them
    import lzma
    import zipfile

    if method not in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        return b""
    bzip2 = method == zipfile.ZIP_BZIP2
    decompressor = bz2.BZ2Decompressor() if bzip2 else zipfile.LZMADecompressor()  # type: ignore[attr-defined]
    raw = bytearray()
    try:
        for at in range(0, len(packed), 1 << 12):
            raw += decompressor.decompress(packed[at : at + (1 << 12)])
            if len(raw) >= bound or decompressor.eof:
                break
    except (OSError, EOFError, lzma.LZMAError):
        pass
    return bytes(raw[:bound])


def missing(reading: Reading, records: Mapping[str, Entry], folder: str) -> list[Damage]:
    """Storages that the pickle calls for and whose record is absent from its folder, of another size, or packed."""
    damage = []
    deflated = []
    for storage in reading.storages.values():
        name = folder + storage.key
        entry = records.get(name)
        if entry is None:
            message = "the record with a tensor's storage is absent; loading raises"
            damage.append(Damage("missing-record", message, shown(name), None, storage.nbytes))
        elif entry.size != storage.nbytes:
            short = entry.size < storage.nbytes
            message = (
                f"the record is {'shorter' if short else 'longer'} than its tensors say: {entry.size:,} instead of "
                f"{storage.nbytes:,} bytes" + ("; with mmap=True torch.load silently loads garbage" if short else "")
            )
            damage.append(Damage("missing-record", message, shown(name), entry.size, storage.nbytes))
        elif entry.method not in (STORED, DEFLATED):
            message = f"compression method {entry.method} is unknown to torch.load"
            damage.append(Damage("missing-record", message, shown(name)))
        elif entry.method == DEFLATED and storage.nbytes:
            deflated.append(name)
    if len(damage) > limits.MAX_DAMAGE:
        message = f"{len(damage) - limits.MAX_DAMAGE:,} more records are absent or of another size"
        damage = [*damage[: limits.MAX_DAMAGE], Damage("missing-record", message)]
    if deflated:
        message = (
            f"{len(deflated):,} of {len(reading.storages):,} tensor records are compressed: torch.load reads them, "
            "with mmap=True it takes the compressed bytes for numbers"
        )
        damage.append(Damage("compressed-records", message, shown(deflated[0])))
    return damage
