"""The stretches of a file that hold tensor bytes, and their content piece by piece, inflated where it is packed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace

from ckpt_doctor.inert.zip_structures import DirectoryError
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.torch_row import archives
from ckpt_doctor.readers.torch_zip import CONSTANTS
from ckpt_doctor.readers.zip_directory import archive_prefix, read_directory
from ckpt_doctor.readers.zip_far import far_of
from ckpt_doctor.readers.zip_truncated import walk
from ckpt_doctor.types import Checkpoint
from ckpt_doctor.types.record import record

CHUNK = 1 << 21
"""Fits the caches, so that reading, checksum and scan pass over memory once. Measured with two threads: 512 KiB costs a
twelfth more, from here to 4 MiB all are alike."""
PIECE = 1 << 26
"""Bytes of a record that one thread reads: so a file of a single tensor is read by several, too."""


@record(frozen=True)
class Region:
    """A stretch of the file to be read: a zip record, or a storage in a container without records."""

    name: str
    offset: int
    length: int
    """Bytes in the file."""
    size: int
    """Bytes once inflated."""
    deflated: bool
    crc: int | None
    key: str | None
    """Of the storage that it holds."""
    begin: int = 0
    """Where it begins in the content of the whole region, of which it is a piece."""

    def pieces(self) -> Iterator[Region]:
        """The region in pieces that can be read at the same time; whole where it is small, or deflated."""
        if self.deflated or self.length <= PIECE:
            yield self
            return
        for at in range(0, self.length, PIECE):
            count = min(PIECE, self.length - at)
            yield replace(self, offset=self.offset + at, length=count, size=count, begin=at)


def regions_of(view: FileView, checkpoint: Checkpoint) -> list[Region]:
    """What is to be read, in file order."""
    if checkpoint.container in ("torch-zip", "torchscript"):
        try:
            directory = read_directory(view.read_at, view.size, far_of(view))
        except DirectoryError:
            return _regions_of_truncated(view, checkpoint)
        prefix = archive_prefix(directory) or ""
        without = checkpoint.metadata.get("checksums") == "none"
        regions = []
        for entry in directory.entries:
            if entry.data < 0 or entry.method not in (0, 8):
                continue
            key = entry.name[len(prefix) + 5 :] if entry.name.startswith(prefix + "data/") else None
            key = entry.name[len(prefix) :] if entry.name.startswith(prefix + CONSTANTS) else key
            crc = None if without else entry.crc
            regions.append(Region(entry.name, entry.data, entry.compressed, entry.size, entry.method == 8, crc, key))
        return sorted(regions, key=lambda region: region.offset)
    return _regions_of_row(view, checkpoint) if checkpoint.container == "distcp" else _storages(checkpoint)


def _regions_of_row(view: FileView, checkpoint: Checkpoint) -> list[Region]:
    without = checkpoint.metadata.get("checksums") == "none"
    regions = []
    for archive in archives(view)[0]:
        keys = {entry.name: key for key, entry in archive.storages.items()}
        for entry in archive.directory.entries:
            if entry.data >= 0 and entry.method in (0, 8):
                at, crc = archive.begin + entry.data, None if without else entry.crc
                name, key = f"{entry.name} at byte {archive.begin:,}", keys.get(entry.name)
                regions.append(Region(name, at, entry.compressed, entry.size, entry.method == 8, crc, key))
    return regions


def _regions_of_truncated(view: FileView, checkpoint: Checkpoint) -> list[Region]:
    start = walk(view)
    checksums = start.checksums if start is not None else {}
    if not any(checksums.values()):  # the file was written without them
        checksums = {}
    return [replace(region, crc=checksums.get(region.key or "")) for region in _storages(checkpoint)]


def _storages(checkpoint: Checkpoint) -> list[Region]:
    found: dict[tuple[str, int], Region] = {}
    for tensor in (*checkpoint.tensors, *checkpoint.inner):
        storage = tensor.storage
        if storage.offset is not None and storage.nbytes:
            crc = checkpoint.checksums.get(storage.key)
            region = Region(storage.key, storage.offset, storage.nbytes, storage.nbytes, False, crc, storage.key)
            found.setdefault((storage.key, storage.offset), region)
    return sorted(found.values(), key=lambda region: region.offset)


def chunks(view: FileView, region: Region, buffer: memoryview) -> Iterator[tuple[memoryview, int]]:
    """Pieces of a region's content, each with the bytes of the file that it took. A piece is valid until the next."""
    at, end = region.offset, min(region.offset + region.length, view.size)
    inflater = zlib.decompressobj(-15) if region.deflated else None
    while at < end:
        count = view.read_into(buffer[: min(CHUNK, end - at)], at)
        if count == 0:
            return
        at += count
        if inflater is None:
            yield buffer[:count], count
            continue
        packed, full = bytes(buffer[:count]), True
        while packed or full:  # after the last byte of input there may be more than one piece of output
            piece = inflater.decompress(packed, CHUNK)
            yield memoryview(piece), count
            packed, count, full = inflater.unconsumed_tail, 0, len(piece) == CHUNK
