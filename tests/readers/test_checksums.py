"""Checksums of pieces make that of the whole."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.readers.checksums import combined


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_the_checksum_of_pieces_is_that_of_the_whole(pieces: list[bytes]) -> None:
    crc = 0
    for piece in pieces:
        crc = combined(crc, zlib.crc32(piece), len(piece))
    assert crc == zlib.crc32(b"".join(pieces))


def test_a_long_piece_counts_as_its_bytes_one_by_one() -> None:
    long, short = 1 << 33, 1 << 15
    half = combined(0x12345678, 0, long // 2)
    assert combined(0x12345678, 0, long) == combined(half, 0, long // 2)
    assert combined(zlib.crc32(b"a"), zlib.crc32(bytes(short)), short) == zlib.crc32(b"a" + bytes(short))
