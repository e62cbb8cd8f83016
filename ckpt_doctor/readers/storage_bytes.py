"""Reads the bytes of tensors piece by piece, whatever their size: the file's own bytes, in little-endian order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.dtypes import item_size
from ckpt_doctor.inert.tensor_list import bytes_needed, is_contiguous
from ckpt_doctor.readers.regions import CHUNK, Region, chunks, regions_of
from ckpt_doctor.readers.tensor_bytes import byte_order
from ckpt_doctor.readers.views import open_view
from ckpt_doctor.types import Checkpoint, StorageInfo, TensorInfo

_MOST_DIMENSIONS = 31
"""Of a view in numpy before version 2, less the one for the bytes of an element."""
Bytes = npt.NDArray[np.uint8]


class StorageReader:
    """One open file whose tensors are read. Raises OSError where the file is not the one that was described."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.swaps = byte_order(checkpoint) == ">"
        self.packed: dict[str, Region] | None = None
        self.buffer = memoryview(bytearray(CHUNK))

    def __enter__(self) -> StorageReader:
        self.view = open_view(self.checkpoint.path)
        if self.checkpoint.stamp is not None and self.view.stamp != self.checkpoint.stamp:
            self.view.close()
            raise OSError(0, "the file changed since it was read", str(self.checkpoint.path))
        return self

    def __exit__(self, *_: object) -> None:
        self.view.close()

    def lacks(self, tensor: TensorInfo) -> str:
        """Why the bytes of a tensor cannot be had; empty where they can."""
        storage = tensor.storage
        region = self._region(storage)
        if storage.nbytes and region is None:
            return "its bytes are not in the file"
        if bytes_needed(tensor) > storage.nbytes:
            return "its storage is too short"
        if len(_folded(tensor)) > _MOST_DIMENSIONS:
            return "it has too many dimensions"
        if region is not None and (not region.deflated and region.offset + region.size > self.view.size):
            return "its bytes are not all in the file"
        if region is not None and region.size > limits.MAX_RECORD_RATIO * self.view.size:
            return f"its record inflates to more than {limits.MAX_RECORD_RATIO} times the size of the file"
        return ""

    def pieces(self, storage: StorageInfo, start: int = 0, length: int | None = None) -> Iterator[Bytes]:
        """The bytes of a storage from `start` on, in little-endian order. A piece is valid until the next one.

        Every piece but the last is of whole elements, whatever their type.
        """
        region = self._region(storage)
        left = storage.nbytes - start if length is None else length
        if region is None or not left:
            return
        if not region.deflated:
            region, start = replace(region, offset=region.offset + start, length=left, size=left), 0
        size = item_size(storage.dtype) // (2 if storage.dtype.startswith("complex") else 1)
        rest = b""
        for chunk, _ in chunks(self.view, region, self.buffer):
            piece = chunk[start:]
            start = max(0, start - len(chunk))
            joined = memoryview(rest + bytes(piece)) if rest else piece
            whole = min(left, len(joined) // 16 * 16)
            rest = bytes(joined[whole:])[: left - whole]
            if whole:
                yield self._little(np.frombuffer(joined[:whole], np.uint8), size)
            left -= whole
            if not left:
                return
        if rest:
            yield self._little(np.frombuffer(rest, np.uint8), size)
        if left > len(rest):
            raise OSError(0, "the file became shorter while it was read", str(self.checkpoint.path))

    def dense(self, tensor: TensorInfo) -> Iterator[Bytes]:
        """The elements of a tensor in their order, in pieces; of one with gaps the span that it views is gathered."""
        size = item_size(tensor.dtype)
        start, span = tensor.storage_offset * size, bytes_needed(tensor) - tensor.storage_offset * size
        if not tensor.nbytes:
            return
        if is_contiguous(tensor):
            yield from self.pieces(tensor.storage, start, tensor.nbytes)
            return
        flat, at = np.empty(span, np.uint8), 0
        for piece in self.pieces(tensor.storage, start, span):
            flat[at : at + len(piece)] = piece
            at += len(piece)
        yield from _gathered(flat, tensor, size)

    def elements(self, tensor: TensorInfo) -> Iterator[Bytes]:
        """The elements of a tensor in any order, in pieces: a transposed one needs no gathering."""
        size = item_size(tensor.dtype)
        start = tensor.storage_offset * size
        if _fills_its_span(tensor):
            return self.pieces(tensor.storage, start, tensor.nbytes)
        return self.dense(tensor)

    def _region(self, storage: StorageInfo) -> Region | None:
        if storage.offset is not None:
            return Region(storage.key, storage.offset, storage.nbytes, storage.nbytes, False, None, storage.key)
        if self.packed is None:
            every = regions_of(self.view, self.checkpoint) if storage.nbytes else []
            self.packed = {region.key: region for region in every if region.key and region.deflated}
        found = self.packed.get(storage.key)
        return found if found is not None and found.size == storage.nbytes else None

    def _little(self, piece: Bytes, size: int) -> Bytes:
        if not self.swaps or size == 1:
            return piece
        return piece.reshape(-1, size)[:, ::-1].reshape(-1)


def _fills_its_span(tensor: TensorInfo) -> bool:
    """Whether the elements are those of one stretch, each once: contiguous, or a transposition of it."""
    step = 1
    for stride, n in sorted((stride, n) for n, stride in zip(tensor.shape, tensor.stride, strict=True) if n != 1):
        if stride != step:
            return False
        step *= n
    return True


def _folded(tensor: TensorInfo) -> list[tuple[int, int]]:
    """Sizes and strides of the same elements in the same order with as few dimensions as can be."""
    dims: list[tuple[int, int]] = []
    for n, stride in zip(tensor.shape, tensor.stride, strict=True):
        if dims and dims[-1][1] == n * stride:
            dims[-1] = (dims[-1][0] * n, stride)
        elif n != 1:
            dims.append((n, stride))
    return dims


def _gathered(flat: Bytes, tensor: TensorInfo, size: int) -> Iterator[Bytes]:
    """The elements of a strided view in their order, some at a time."""
    dims = _folded(tensor)
    steps = (*(step * size for _, step in dims), 1)
    view: Any = np.lib.stride_tricks.as_strided(flat, (*(n for n, _ in dims), size), steps, writeable=False)
    rest = [view]
    while rest:
        part = rest.pop()
        if part.nbytes <= CHUNK or part.ndim == 1:
            yield np.ascontiguousarray(part).reshape(-1)
        elif len(part) == 1:
            rest.append(part[0])
        else:
            half = len(part) // 2
            rest += [part[half:], part[:half]]
