"""Reads every byte of a checkpoint once: stored checksums, and NaN or infinite numbers in its tensors.

PyTorch writes a CRC-32 for each record and compares none (`MINIZ_DISABLE_ZIP_READER_CRC32_CHECKS`), so that a flipped
bit in a tensor loads without a word.
"""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ckpt_doctor.readers import limits
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.non_finite import StorageScan
from ckpt_doctor.readers.pickle_machine import shown
from ckpt_doctor.readers.tensor_list import MODEL_KEYS
from ckpt_doctor.readers.torch_zip import archive_prefix
from ckpt_doctor.readers.zip_directory import DirectoryError, read_directory
from ckpt_doctor.readers.zip_truncated import walk
from ckpt_doctor.types import Checkpoint, Damage, DeepResult, NotChecked, TensorInfo

try:  # ten times as fast, where it is installed
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

_CHUNK = 1 << 18
"""Fits the second-level cache, so that reading, checksum and scan pass over memory once."""

Progress = Callable[[int], None]
"""Called with the number of bytes read since the last call."""


@dataclass(frozen=True)
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


def deep_check(checkpoint: Checkpoint, progress: Progress | None = None) -> Checkpoint:
    """The checkpoint with `deep` filled: corrupt records, non-finite tensors, and what could not be checked.

    Memory stays below a few megabytes whatever the file holds. A file that changed since `checkpoint` was read is not
    judged: `deep.not_checked` says so.
    """
    try:
        with FileView(checkpoint.path) as view:
            if checkpoint.stamp is not None and view.stamp != checkpoint.stamp:
                return replace(checkpoint, deep=_nothing("the file changed since its metadata was read"))
            return replace(checkpoint, deep=_check(view, checkpoint, progress))
    except OSError as error:
        return replace(checkpoint, deep=_nothing(f"the system refuses to read the file: {error.strerror or error}"))


def _nothing(why: str) -> DeepResult:
    return DeepResult(not_checked=(NotChecked("stored checksums and NaN", why, "run it again"),))


def _check(view: FileView, checkpoint: Checkpoint, progress: Progress | None) -> DeepResult:
    regions = _regions(view, checkpoint)
    by_key: dict[str, list[TensorInfo]] = defaultdict(list)
    for tensor in checkpoint.tensors:
        by_key[tensor.storage.key].append(tensor)
    damage: list[Damage] = []
    corrupt: list[Region] = []
    non_finite: dict[str, int] = {}
    read = 0
    buffer = memoryview(bytearray(_CHUNK))
    big_endian = checkpoint.metadata.get("byteorder") == "big"
    for region in regions:
        scan = StorageScan(by_key.get(region.key or "", []), big_endian)
        crc = length = 0
        try:
            for chunk, consumed in _chunks(view, region, buffer):
                crc = crc32(chunk, crc) if region.crc is not None else 0
                scan.feed(chunk)
                length += len(chunk)
                read += consumed
                if progress is not None:
                    progress(consumed)
        except OSError as error:
            where = f"{shown(region.name)}, byte {region.offset + length}"
            message = f"the system cannot read the record: {error.strerror or error}"
            damage.append(Damage("unreadable-file", message, where))
            continue
        except zlib.error:
            corrupt.append(region)
            continue
        scan.finish()
        for name, count in scan.counts.items():
            non_finite[name] = non_finite.get(name, 0) + count
        if region.crc is not None and (crc != region.crc or length != region.size):
            corrupt.append(region)
    damage += _corrupt(corrupt, checkpoint, by_key)
    view.bytes_read += read
    return DeepResult(tuple(damage), non_finite, _not_checked(checkpoint, regions), read)


def _chunks(view: FileView, region: Region, buffer: memoryview) -> Iterator[tuple[memoryview, int]]:
    """Pieces of a region's content, each with the bytes of the file that it took. A piece is valid until the next."""
    at, end = region.offset, min(region.offset + region.length, view.size)
    inflater = zlib.decompressobj(-15) if region.deflated else None
    while at < end:
        count = os.preadv(view.descriptor, [buffer[: min(_CHUNK, end - at)]], at)
        if count == 0:
            return
        at += count
        if inflater is None:
            yield buffer[:count], count
            continue
        packed = bytes(buffer[:count])
        while packed:
            yield memoryview(inflater.decompress(packed, _CHUNK)), count
            packed, count = inflater.unconsumed_tail, 0


def _regions(view: FileView, checkpoint: Checkpoint) -> list[Region]:
    """What is to be read, in file order."""
    if checkpoint.container in ("torch-zip", "torchscript"):
        try:
            directory = read_directory(view.read_at, view.size)
        except DirectoryError:
            return _regions_of_truncated(view, checkpoint)
        prefix = archive_prefix(directory) or ""
        without = checkpoint.metadata.get("checksums") == "none"
        regions = []
        for entry in directory.entries:
            if entry.data < 0 or entry.method not in (0, 8) or entry.size > limits.MAX_INFLATE_RATIO * view.size:
                continue
            key = entry.name[len(prefix) + 5 :] if entry.name.startswith(prefix + "data/") else None
            crc = None if without else entry.crc
            regions.append(Region(entry.name, entry.data, entry.compressed, entry.size, entry.method == 8, crc, key))
        return sorted(regions, key=lambda region: region.offset)
    return _storages(checkpoint)


def _regions_of_truncated(view: FileView, checkpoint: Checkpoint) -> list[Region]:
    start = walk(view)
    checksums = start.checksums if start is not None else {}
    return [replace(region, crc=checksums.get(region.key or "")) for region in _storages(checkpoint)]


def _storages(checkpoint: Checkpoint) -> list[Region]:
    found: dict[tuple[str, int], Region] = {}
    for tensor in checkpoint.tensors:
        storage = tensor.storage
        if storage.offset is not None and storage.nbytes:
            region = Region(storage.key, storage.offset, storage.nbytes, storage.nbytes, False, None, storage.key)
            found.setdefault((storage.key, storage.offset), region)
    return sorted(found.values(), key=lambda region: region.offset)


def _not_checked(checkpoint: Checkpoint, regions: Sequence[Region]) -> tuple[NotChecked, ...]:
    notes = []
    if checkpoint.container in ("torch-zip", "torchscript"):
        without = sum(region.crc is None for region in regions)
        if without and checkpoint.metadata.get("checksums") == "none":
            why = "the file was written without them (torch.serialization.set_crc32_options(False))"
            notes.append(NotChecked("stored checksums", why, "save with checksums"))
        elif without:
            why = f"the end of the archive is missing, and with it the checksums of {without:,} records"
            notes.append(NotChecked("stored checksums", why, "the whole file"))
    elif checkpoint.tensors:
        why = f"a {checkpoint.container} file holds no checksums: a flipped bit cannot be told from a trained weight"
        notes.append(NotChecked("stored checksums", why, "torch.save of a current PyTorch writes them"))
    unplaced = sum(
        tensor.storage.offset is None and tensor.storage.nbytes > 0 and not _inflated(tensor, regions)
        for tensor in checkpoint.tensors
    )
    if unplaced:
        why = f"the bytes of {unplaced:,} tensors were not found in the file"
        notes.append(NotChecked("NaN and infinite values", why, "a complete file"))
    return tuple(notes)


def _inflated(tensor: TensorInfo, regions: Sequence[Region]) -> bool:
    return any(region.deflated and region.key == tensor.storage.key for region in regions)


def _corrupt(
    corrupt: Sequence[Region], checkpoint: Checkpoint, by_key: dict[str, list[TensorInfo]]
) -> Iterator[Damage]:
    """One finding per bad record, with its tensors, and what the file is still good for."""
    hit = [tensor for region in corrupt for tensor in by_key.get(region.key or "", [])]
    rest = _still_good_for(checkpoint, corrupt, hit)
    for region in corrupt[: limits.MAX_DAMAGE]:
        names = [tensor.name for tensor in by_key.get(region.key or "", [])]
        what = (
            f"tensor {shown(names[0])}"
            if len(names) == 1
            else f"{len(names)} tensors ({shown(names[0])}, ...)"
            if names
            else ""
        )
        if region.name.endswith(".pkl"):
            what = "the description of all tensors"
        message = "the bytes do not match the stored checksum, and torch.load does not notice"
        message += f": {what} is not what was saved" if what else ""
        yield Damage("corrupt-record", message + rest, shown(region.name))
    if len(corrupt) > limits.MAX_DAMAGE:
        yield Damage("corrupt-record", f"{len(corrupt) - limits.MAX_DAMAGE:,} more records are corrupt")


def _still_good_for(checkpoint: Checkpoint, corrupt: Sequence[Region], hit: Sequence[TensorInfo]) -> str:
    if any(region.name.endswith(".pkl") for region in corrupt):
        return ""
    if checkpoint.layout == "training" and hit and not any(tensor.path[0] in MODEL_KEYS for tensor in hit):
        return ". The model's weights are intact: the file still serves as weights"
    if not hit:
        return ". No tensor is affected"
    whole = len(checkpoint.tensors) - len(hit)
    return f". The other {whole:,} of {len(checkpoint.tensors):,} tensors are intact"
