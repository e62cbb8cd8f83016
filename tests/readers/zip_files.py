"""Zip archives of any records, and what can be put into and behind them."""

from __future__ import annotations

import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

from ckpt_doctor.writer import zip_append


def entry_at(raw: bytes, name: bytes) -> int:
    """Offset of the central header of a record."""
    at = raw.index(b"PK\x01\x02")
    while raw[at + 46 : at + 46 + len(name)] != name:
        at = raw.index(b"PK\x01\x02", at + 1)
    return at


def archive(path: Path, records: dict[str, bytes], compression=zipfile.ZIP_STORED) -> Path:
    """A zip archive of these records."""
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, data in records.items():
            target.writestr(name, data)
    return path


def local_record(name: bytes, data: bytes, method: int = 0, *, sized: bool = True) -> bytes:
    """A record with its local header alone; without sizes, as torch writes them, and a descriptor behind."""
    packed = zlib.compress(data, wbits=-15) if method else data
    sizes = (zlib.crc32(data), len(packed), len(data)) if sized else (0, 0, 0)
    header = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0 if sized else 8, method, 0, 0, *sizes, len(name), 0)
    descriptor = b"" if sized else struct.pack("<4s3I", b"PK\x07\x08", zlib.crc32(data), len(packed), len(data))
    return header + name + packed + descriptor


def appended(raw: bytes, program: bytes) -> bytes:
    """The archive with another program behind its end: what an in-place migration does."""
    with tempfile.TemporaryFile() as file:
        file.write(raw)
        file.flush()
        directory = zip_append.read_directory(file.fileno(), len(raw))
    name = next(entry.name for entry in directory.entries if entry.name.endswith("data.pkl"))
    return raw + zip_append.build_tail(directory, {name: program})
