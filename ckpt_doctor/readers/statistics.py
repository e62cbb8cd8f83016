"""Minimum, maximum, mean, deviation, zeros and non-finite numbers of tensors, read piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ckpt_doctor.inert.dtypes import STRUCT_CODES
from ckpt_doctor.readers.storage_bytes import Bytes, StorageReader
from ckpt_doctor.types import Statistics, TensorInfo

Numbers = npt.NDArray[Any]

_FEW = 1 << 17
"""Numbers that are looked at together: their copies in double precision fit the caches."""


def _float8(exponent: int, mantissa: int, bias: int, *, ieee: bool = False, one_nan: bool = False) -> Numbers:
    """The 256 values of a type of 8 bits (c10/util/Float8_*.h): with `ieee` infinities, with `one_nan` only 0x80."""
    values = np.empty(256)
    for code in range(256):
        sign, e, m = -1.0 if code & 0x80 else 1.0, (code & 0x7F) >> mantissa, code & ((1 << mantissa) - 1)
        value = math.ldexp(m, 1 - bias - mantissa) if e == 0 else math.ldexp(m + (1 << mantissa), e - bias - mantissa)
        top = e == (1 << exponent) - 1
        if (one_nan and code == 0x80) or (top and not one_nan and (m if ieee else m == (1 << mantissa) - 1)):
            value = math.nan
        elif top and ieee:
            value = math.inf
        values[code] = sign * value
    return values


_TABLES: dict[str, Callable[[], Numbers]] = {
    "float8_e4m3fn": lambda: _float8(4, 3, 7),
    "float8_e5m2": lambda: _float8(5, 2, 15, ieee=True),
    "float8_e4m3fnuz": lambda: _float8(4, 3, 8, one_nan=True),
    "float8_e5m2fnuz": lambda: _float8(5, 2, 16, one_nan=True),
    "float8_e8m0fnu": lambda: np.append(2.0 ** np.arange(-127, 128), np.nan),
}
MEASURED = frozenset({*STRUCT_CODES, "bfloat16", *_TABLES})
"""Types whose elements are real numbers, one behind the other."""


def why_not(reader: StorageReader, tensor: TensorInfo) -> str:
    """Why a tensor has no statistics; empty where it has."""
    if tensor.dtype.startswith("complex"):
        return "complex numbers have no order"
    if len(tensor.stride) != len(tensor.shape):
        return "its elements do not lie one behind the other (sparse, nested or packed)"
    if tensor.dtype not in MEASURED:
        return f"elements of {tensor.dtype} are codes, not numbers"
    if not tensor.storage.key and tensor.nbytes:
        return "it has no bytes of its own"
    return reader.lacks(tensor)


def measure(reader: StorageReader, tensor: TensorInfo) -> Statistics:
    """The statistics of a tensor for which `why_not` is empty.

    Memory stays below 20 MiB where the elements of the tensor fill the stretch that they lie in; of a view with gaps
    that stretch is held.
    """
    sums = _Sums()
    numbers = _numbers(tensor.dtype)
    for piece in reader.elements(tensor):
        found = numbers(piece)
        for at in range(0, len(found), _FEW):
            sums.add(found[at : at + _FEW])
    return sums.result()


def _numbers(dtype: str) -> Callable[[Bytes], Numbers]:
    if dtype == "bfloat16":  # the upper half of a float32
        return lambda piece: (piece.view("<u2").astype("<u4") << np.uint32(16)).view("<f4")
    if dtype in _TABLES:
        table = _TABLES[dtype]()
        return lambda piece: table[piece]
    code = "<B" if dtype == "bool" else f"<{STRUCT_CODES[dtype]}"
    return lambda piece: piece.view(np.dtype(code))


@dataclass
class _Sums:
    """Sums over pieces, merged as by Chan, Golub and LeVeque (1979)."""

    count: int = 0
    shift: float = 0.0
    """The first mean, from which all else is counted: so far from zero no digits are lost."""
    mean: float = 0.0
    squares: float = 0.0
    """Of the distances from the mean."""
    minimum: int | float | None = None
    maximum: int | float | None = None
    zeros: int = 0
    non_finite: int = 0

    def add(self, found: Numbers) -> None:
        """Take up some numbers."""
        if found.dtype.kind == "f":
            finite = np.isfinite(found)
            if not finite.all():
                self.non_finite += found.size - int(np.count_nonzero(finite))
                found = found[finite]
        if not found.size:
            return
        self.zeros += int(np.count_nonzero(found == 0))  # four times as fast as to count the others
        least, most = found.min().item(), found.max().item()
        self.minimum = least if self.minimum is None else min(self.minimum, least)
        self.maximum = most if self.maximum is None else max(self.maximum, most)
        with np.errstate(over="ignore", invalid="ignore"):  # of the largest doubles the squares are infinite
            self._add_moments(found.astype(np.float64))

    def _add_moments(self, exact: Numbers) -> None:
        if not self.count:
            self.shift = float(exact.mean())
        exact -= self.shift
        n, mean = exact.size, float(exact.mean())
        exact -= mean  # then squared in place: `numpy.dot` would wait for the other threads of BLAS
        total, step = self.count + n, mean - self.mean
        self.squares += float(np.square(exact, out=exact).sum()) + step * step * self.count * n / total
        self.mean += step * n / total
        self.count = total

    def result(self) -> Statistics:
        """The statistics of all that was added."""
        mean = self.shift + self.mean if self.count else None
        std = math.sqrt(self.squares / self.count) if self.count else None
        return Statistics(self.minimum, self.maximum, mean, std, self.zeros, self.non_finite)
