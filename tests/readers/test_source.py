"""Bytes of a file, in memory and in a stretch of either are read alike: nothing outside is ever given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.source import BytesSource, Slice, Source

DATA = bytes(range(40))
KINDS: dict[str, Callable[[Source], Source]] = {
    "a file": lambda file: file,
    "bytes": lambda _: BytesSource(DATA),
    "a stretch of bytes": lambda _: Slice(BytesSource(b"before" + DATA + b"behind"), 6, len(DATA)),
    "a stretch of a stretch": lambda file: Slice(Slice(file, 0, len(DATA)), 0, len(DATA)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("offset", "count", "expected"),
    [
        (0, 4, DATA[:4]),
        (36, 4, DATA[36:]),
        (36, 5, DATA[36:]),
        (40, 1, b""),
        (1 << 62, 8, b""),
        (-1, 8, b""),
        (-6, 46, b""),
        (3, 0, b""),
    ],
)
def test_a_read_is_short_at_the_end_and_empty_outside(
    tmp_path: Path, kind: str, offset: int, count: int, expected: bytes
) -> None:
    (tmp_path / "a").write_bytes(DATA)
    with FileView(tmp_path / "a") as file:
        source = KINDS[kind](file)
        assert (len(DATA), expected) == (source.size, source.read_at(offset, count))
