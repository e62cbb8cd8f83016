"""CRC-32 of bytes that were read in pieces, from the pieces' own checksums."""

from __future__ import annotations

from functools import cache

_POLYNOMIAL = 0xEDB88320
"""CRC-32's, with the lowest power in the highest bit."""
_ONE, _X = 1 << 31, 1 << 30


def combined(first: int, second: int, length: int) -> int:
    """The checksum of two stretches in a row, the second of `length` bytes.

    Appending n bytes multiplies a checksum by x to the power 8n, modulo the polynomial.

    Source: zlib's crc32.c, `crc32_combine`, `multmodp` and `x2nmodp`.
    """
    shift, power = _ONE, 3  # 8 is 2 to the power 3
    while length:
        if length & 1:
            shift = _product(_squared(power), shift)
        length >>= 1
        power += 1
    return _product(shift, first) ^ second


@cache
def _squared(times: int) -> int:
    """X to the power 2^times."""
    return _product(_squared(times - 1), _squared(times - 1)) if times else _X


def _product(a: int, b: int) -> int:
    """Two polynomials multiplied, modulo CRC-32's."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product
