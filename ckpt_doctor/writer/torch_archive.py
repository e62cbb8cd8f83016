"""Writes records into a new torch archive, laid out as torch does."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from typing import IO

from ckpt_doctor.inert.zip_structures import LOCAL, padding


def write_archive(file: IO[bytes], records: Iterable[tuple[str, int, Iterable[bytes]]]) -> None:
    """Write an archive of these records, each a name, the number of its bytes, and these in pieces."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, size, parts in records:
            info = zipfile.ZipInfo(f"archive/{name}")
            info.file_size = size
            wide = size >= 1 << 31
            info.extra = padding(file.tell() + LOCAL.size + len(info.filename) + (20 if wide else 0))
            with archive.open(info, "w", force_zip64=wide) as record:
                for part in parts:
                    record.write(part)
