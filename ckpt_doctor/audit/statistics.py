"""Statistics of the tensors of a checkpoint, for `ckpt-doctor inspect --stats`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from ckpt_doctor.audit.opening import Progress
from ckpt_doctor.inert import limits
from ckpt_doctor.inert.quantized_weights import quantized_values
from ckpt_doctor.inert.units import parts_of
from ckpt_doctor.types import Checkpoint, KeyPath, Measured, TensorInfo


def measured(checkpoint: Checkpoint, pattern: str = "*", progress: Progress | None = None) -> list[Measured]:
    """The statistics of each tensor whose name fits a pattern: a glob, or a part of the name.

    A stretch of a file that several tensors view in the same way is read once. Where the views of a file ask for more
    than `limits.MAX_RECORD_RATIO` times its bytes, the rest is not read.
    """
    found: list[Measured] = []
    for prefix, file in parts_of(checkpoint):
        named = [(replace(tensor, path=(*prefix, *tensor.path)), tensor.path) for tensor in file.tensors]
        chosen = [(tensor, path) for tensor, path in named if fits(tensor.name, pattern)]
        if chosen:
            found += _of_file(file, chosen, progress)
    return found


def fits(name: str, pattern: str) -> bool:
    """Whether a pattern means a name: `*bias`, `model.layers.[01].*`, `embed`."""
    return fnmatchcase(name, pattern) or (pattern in name and not any(sign in pattern for sign in "*?["))


def _of_file(
    file: Checkpoint, chosen: list[tuple[TensorInfo, KeyPath]], progress: Progress | None
) -> Iterator[Measured]:
    from ckpt_doctor.readers.statistics import measure, why_not  # numpy is needed for this only
    from ckpt_doctor.readers.storage_bytes import StorageReader

    codes = {path for path, count in quantized_values((*file.tensors, *file.inner)).items() if count}
    seen: dict[object, Measured] = {}
    left = limits.MAX_RECORD_RATIO * file.size

    def look(reader: StorageReader, tensor: TensorInfo, path: KeyPath) -> Measured:
        nonlocal left
        if why := why_not(reader, tensor):
            return Measured(tensor, None, why)
        if path in codes:
            return Measured(tensor, None, "its elements are codes of quantized weights, not numbers")
        left -= tensor.nbytes
        if left < 0:
            return Measured(tensor, None, "the views of this file ask for too many times its bytes")
        try:
            statistics = measure(reader, tensor)
        except OSError as error:
            return Measured(tensor, None, f"the system cannot read it: {error.strerror or error}")
        if progress is not None:
            progress(file.path, tensor.nbytes)
        return Measured(tensor, statistics)

    try:
        with StorageReader(file) as reader:
            for tensor, path in chosen:
                key = (tensor.storage, tensor.storage_offset, tensor.shape, tensor.stride, tensor.dtype, path in codes)
                seen[key] = seen.get(key) or look(reader, tensor, path)
                yield replace(seen[key], tensor=tensor)
    except OSError as error:
        yield from (
            Measured(tensor, None, f"the system cannot read the file: {error.strerror}") for tensor, _ in chosen
        )
