"""Walks an archive that has no directory, from its first byte, by what the pickle says of the records' sizes.

torch writes `data.pkl` first, then small records and `data/<key>` in the order in which the pickle names them, each
behind a local header that leaves the size to a descriptor behind the data (miniz, `mz_zip_writer_add_mem_ex_v2`).
"""

from __future__ import annotations

import struct

from ckpt_doctor.inert.pickle_machine import Reading
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.inert.zip_structures import DESCRIPTOR_MAGIC, LOCAL, LOCAL_MAGIC, STORED, LocalHeader
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.programs import growing
from ckpt_doctor.types.record import record

_FIRST_READ = 1 << 20
_SMALL = 1 << 16


@record(frozen=True)
class Walk:
    """What the beginning of an archive holds."""

    name: str
    """Of the record with the pickle."""
    data: int
    """Offset of the pickle."""
    raw: bytes
    """The pickle, up to STOP or to the end of the file."""
    reading: Reading
    offsets: dict[str, int]
    """Storage key -> offset, for records whose bytes are all there."""
    checksums: dict[str, int]
    """Storage key -> CRC-32 from the descriptor behind it, where that is there too."""
    known: list[tuple[int, int]]
    """First byte, and the one behind the last, of the pickle and of each complete storage, with their headers."""
    end: int
    """Where the last complete record ends."""


def walk(view: FileView) -> Walk | None:
    """Follow local headers from offset 0; None when the first record is not a whole `data.pkl` header."""
    header = _local(view, 0)
    if header is None or not (header[0] == "data.pkl" or header[0].endswith("/data.pkl")):
        return None
    name, data, _, _ = header
    for raw in growing(lambda count: view.read_at(data, count), _FIRST_READ):
        reading = read(raw)
        if not reading.ran_out:
            break
    offsets: dict[str, int] = {}
    checksums: dict[str, int] = {}
    at = data + reading.end
    known = [(0, at)]
    if not reading.finished:
        return Walk(name, data, raw, reading, offsets, checksums, known, at)
    prefix = name[: -len("data.pkl")]
    if view.far:  # each header would be a request
        return Walk(name, data, raw[: reading.end], reading, offsets, checksums, known, at)
    at = _behind_descriptor(view, at, reading.end)[0]
    while (header := _local(view, at)) is not None:
        record, start, declared, _ = header
        key = record[len(prefix) + 5 :] if record.startswith(prefix + "data/") else None
        storage = reading.storages.get(key) if key is not None else None
        length = storage.nbytes if storage else declared or _small_length(view, start)
        if length is None or start + length > view.size:
            break
        if key is not None and storage is not None:
            known.append((at, start + length))
            offsets[key] = start
        at, crc = _behind_descriptor(view, start + length, length)
        if key in offsets and crc is not None:
            checksums[key] = crc
    return Walk(name, data, raw[: reading.end], reading, offsets, checksums, known, at)


def packed_anew(view: FileView) -> bool:
    """Whether a zip program wrote a checkpoint's archive: records are compressed, or in another order."""
    header = _local(view, 0)
    if header is None:
        return False
    name, _, _, method = header
    torchs = name.endswith(("data.pkl", "/byteorder", "/version", "/.format_version")) or "data/" in name
    return torchs and (method != STORED or not name.endswith("data.pkl"))


def _local(view: FileView, at: int) -> tuple[str, int, int, int] | None:
    """Name, offset of the data, declared size (0: left to a descriptor) and method of the local header at `at`."""
    raw = view.read_at(at, LOCAL.size)
    if len(raw) < LOCAL.size or raw[:4] != LOCAL_MAGIC:
        return None
    header = LocalHeader._make(LOCAL.unpack(raw))
    name = view.read_at(at + LOCAL.size, header.name_length)
    if len(name) < header.name_length:
        return None
    data = at + LOCAL.size + header.name_length + header.extra_length
    return name.decode("utf-8", "backslashreplace"), data, header.size, header.method


def _behind_descriptor(view: FileView, at: int, length: int) -> tuple[int, int | None]:
    """Where the next header begins, and the checksum, where there is a data descriptor at `at`."""
    raw = view.read_at(at, 24)
    if raw[:4] == DESCRIPTOR_MAGIC and len(raw) >= 16:
        crc, narrow = struct.unpack_from("<2I", raw, 4)
        if len(raw) == 24 and struct.unpack_from("<Q", raw, 8)[0] == length and raw[16:24] == raw[8:16]:
            return at + 24, crc
        if narrow == length:
            return at + 16, crc
    return at, None


def _small_length(view: FileView, start: int) -> int | None:
    """Length of a record of unknown size (`byteorder`, `version`): up to the descriptor that names that length."""
    raw = view.read_at(start, _SMALL)
    at = raw.find(DESCRIPTOR_MAGIC)
    while at >= 0:
        if raw[at + 8 : at + 12] == at.to_bytes(4, "little"):
            return at
        at = raw.find(DESCRIPTOR_MAGIC, at + 1)
    return 0 if raw[:4] == LOCAL_MAGIC else None
