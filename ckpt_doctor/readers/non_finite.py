"""Finds NaN and infinite numbers in raw tensor bytes, for every floating-point type of PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ckpt_doctor.inert.dtypes import item_size
from ckpt_doctor.types import TensorInfo

Array = npt.NDArray[Any]

# Bit patterns from IEEE 754 and c10/util/{BFloat16,Half,Float8_*}.h. Two passes over plain integers find the exponent
# of infinity with either sign, at memory speed and without a copy: as signed numbers the positive ones are the largest,
# as unsigned the negative ones. (A sum tells as much, in more time, and overflows where every number is finite.)
_PATTERNS: dict[str, tuple[str, str, int]] = {
    "float64": ("i8", "u8", 0x7FF0 << 48),
    "complex128": ("i8", "u8", 0x7FF0 << 48),
    "float32": ("i4", "u4", 0x7F80 << 16),
    "complex64": ("i4", "u4", 0x7F80 << 16),
    "float16": ("i2", "u2", 0x7C00),
    "complex32": ("i2", "u2", 0x7C00),
    "bfloat16": ("i2", "u2", 0x7F80),
    "float8_e5m2": ("i1", "u1", 0x7C),
    "float8_e4m3fn": ("i1", "u1", 0x7F),  # NaN only
}
_ONE_NAN = {"float8_e4m3fnuz": 0x80, "float8_e5m2fnuz": 0x80, "float8_e8m0fnu": 0xFF}

SCANNED = frozenset([*_PATTERNS, *_ONE_NAN])
"""Types that can hold a NaN or an infinity."""


def unit(dtype: str) -> int:
    """Bytes of one floating-point number of the type: half an element of a complex one."""
    return item_size(dtype) // (2 if dtype.startswith("complex") else 1)


def mask(raw: memoryview, dtype: str, big_endian: bool) -> tuple[Array, Array] | None:
    """Which numbers of a chunk are NaN or infinite, and which are NaN.

    None when none is, which is found out at memory speed.
    """
    order = ">" if big_endian else "<"
    if dtype in _ONE_NAN:
        found: Array = np.frombuffer(raw, "u1") == _ONE_NAN[dtype]
        return (found, found) if found.any() else None
    signed, unsigned, limit = _PATTERNS[dtype]
    sign = 1 << (8 * int(signed[1]) - 1)
    bits = np.frombuffer(raw, order + unsigned)
    if np.frombuffer(raw, order + signed).max(initial=0) < limit and bits.max(initial=0) < limit + sign:
        return None
    size = bits & (sign - 1)
    found = size >= limit
    return found, found if dtype == "float8_e4m3fn" else size > limit


def counter(tensor: TensorInfo) -> Callable[[Array], int]:
    """A function from element offsets in the tensor's storage to how many of them the tensor contains."""
    dims = sorted(((stride, size) for size, stride in zip(tensor.shape, tensor.stride, strict=False)), reverse=True)
    count = math.prod(tensor.shape)
    span = 1 + sum((size - 1) * stride for stride, size in dims)
    start = tensor.storage_offset
    if len(tensor.stride) != len(tensor.shape):  # sparse: all values of the storage are its
        return lambda offsets: int(offsets.size)
    if count == 0:
        return lambda offsets: 0

    def contained(offsets: Array) -> int:
        first, last = np.searchsorted(offsets, (start, start + span))  # they come in order
        if span == count:  # contiguous, or a transposition of it
            return int(last - first)
        rest = offsets[first:last] - start
        inside = np.ones(rest.shape, bool)
        for stride, size in dims:
            if stride and size > 1:
                index = np.minimum(rest // stride, size - 1)
                rest = rest - index * stride
        inside &= rest == 0
        return int(inside.sum())

    return contained


class StorageScan:
    """Counts the non-finite numbers of one storage, chunk by chunk, for each tensor that views it.

    `position`: the first byte of the storage that comes, a multiple of 16.
    """

    def __init__(self, tensors: Sequence[TensorInfo], big_endian: bool, position: int = 0) -> None:
        self.big_endian = big_endian
        self.tensors = [tensor for tensor in tensors if tensor.dtype in SCANNED]
        self.dtypes = sorted({tensor.dtype for tensor in self.tensors})
        self.counters: dict[str, list[tuple[str, Callable[[Array], int]]]] = {}
        """By type: tensor names, each with what counts its elements. Made when there is something to count."""
        self.position = position
        self.counts: dict[str, int] = {}
        """Tensor name -> elements that are NaN or infinite."""
        self.nan: dict[str, int] = {}
        """Tensor name -> elements that are NaN."""
        self.rest = b""

    def feed(self, chunk: memoryview) -> None:
        """Take up the next bytes of the storage; chunks may be cut anywhere."""
        if not self.dtypes:
            return
        if self.rest:
            chunk = memoryview(self.rest + bytes(chunk))
        whole = len(chunk) // 16 * 16
        self._scan(chunk[:whole])
        self.rest = bytes(chunk[whole:])

    def finish(self) -> None:
        """Take up what is left: less than sixteen bytes."""
        self._scan(memoryview(self.rest))
        self.rest = b""

    def _scan(self, chunk: memoryview) -> None:
        for dtype in self.dtypes if len(chunk) else ():
            width, size = unit(dtype), item_size(dtype)
            usable = chunk[: len(chunk) // width * width]
            found = mask(usable, dtype, self.big_endian)
            if found is None:
                continue
            if dtype not in self.counters:
                self.counters[dtype] = [(t.name, counter(t)) for t in self.tensors if t.dtype == dtype]
            for numbers, counts in zip(found, (self.counts, self.nan), strict=True):
                offsets = (np.flatnonzero(numbers) * width + self.position) // size
                if width < size and len(offsets):  # both halves of a complex number may be meant
                    offsets = offsets[np.concatenate(([True], offsets[1:] != offsets[:-1]))]
                for name, contained in self.counters[dtype]:
                    count = contained(offsets)
                    if count:
                        counts[name] = counts.get(name, 0) + count
        self.position += len(chunk)
