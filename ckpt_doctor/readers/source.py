"""Sources: bytes with positions, of a file, in memory, or a stretch of another source."""

from __future__ import annotations

from typing import Protocol


class Source(Protocol):
    """Bytes with positions: an open file, or bytes inside one."""

    size: int
    far: bool
    """Whether each read is a request to a server."""

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes at `offset`; none before the first byte and behind the last."""


class BytesSource:
    """Bytes in memory as a `Source`."""

    far = False

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes at `offset`."""
        return self.data[offset : offset + count] if offset >= 0 else b""


class Slice:
    """A stretch of another source as a `Source`."""

    def __init__(self, source: Source, begin: int, size: int) -> None:
        self.source = source
        self.begin = begin
        self.size = size
        self.far = source.far

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes at `offset` of the stretch."""
        if not 0 <= offset < self.size:
            return b""
        return self.source.read_at(self.begin + offset, min(count, self.size - offset))
