"""Positioned reads of one open file, counted. Never mapped: a file that shrinks while mapped kills the process."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ckpt_doctor.errors import ensure_supported
from ckpt_doctor.types import Checkpoint, stamp_of

Range = tuple[int, int]
"""Offset and number of bytes."""

WHOLE = 130 << 10
"""Bytes of an object behind a URL that is read whole: then nothing of it is far."""
_SMALL = 1 << 14
"""Bytes of a file that is read whole at the first look: its directory and pickle are most of it."""


_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
"""Not blocking: a FIFO in a checkpoint folder must not hang the scan."""


class FileView:
    """An open file. `read_at` is short at the end of the file and counts what it reads."""

    far = False
    """Whether each read is a request to a server: then only what was planned is read (`remote_view`)."""

    def __init__(self, path: Path) -> None:
        ensure_supported()
        self.descriptor = os.open(path, _FLAGS)
        status = os.fstat(self.descriptor)
        self.path = path
        self.mode = status.st_mode
        self.size = status.st_size
        self.stamp = stamp_of(status)
        self.bytes_read = 0
        self._whole: bytes | None = None

    @property
    def is_held(self) -> bool:
        """Whether the first look has brought the whole file along."""
        return self.size <= _SMALL

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes at `offset`."""
        if self._whole is not None:
            return self._whole[offset : offset + count] if offset >= 0 and count > 0 else b""
        count = min(count, self.size - offset)
        if offset < 0 or count <= 0:
            return b""
        if self.size > _SMALL:
            return self._read(offset, count)
        self._whole = self._read(0, self.size)
        return self._whole[offset : offset + count]

    def _read(self, offset: int, count: int) -> bytes:
        parts = []
        while count > 0:
            part = os.pread(self.descriptor, count, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            count -= len(part)
        raw = parts[0] if len(parts) == 1 else b"".join(parts)
        self.bytes_read += len(raw)
        return raw

    def read_through(self, offset: int, count: int) -> bytes:
        """As `read_at`, of one who reads the file from its beginning to its end."""
        return self.read_at(offset, count)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill a buffer as far as one read goes; 0 at the end of the file. Not counted."""
        return os.preadv(self.descriptor, [buffer], offset)

    def has(self, offset: int, count: int) -> bool:
        """Whether reading bytes costs next to nothing."""
        return True

    def plan(self, ranges: Iterable[Range]) -> None:
        """Say what will be read, so that it can be read at one go."""

    def size_now(self) -> int:
        """The size, if the file grew since it was opened."""
        return os.fstat(self.descriptor).st_size

    def stored_from(self, offset: int) -> int | None:
        """Where the next bytes are that the file system stored; None where only a hole is left."""
        try:
            return os.lseek(self.descriptor, offset, os.SEEK_DATA)
        except AttributeError:
            return offset  # no such system call here
        except OSError:
            return None

    def stored_until(self) -> int:
        """Where the first hole is, or the end."""
        try:
            return os.lseek(self.descriptor, 0, os.SEEK_HOLE)
        except (AttributeError, OSError):
            return self.size

    def confirmed(self, checkpoint: Checkpoint) -> Checkpoint:
        """What was read, for an open file stays the same one."""
        return checkpoint

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)

    def __enter__(self) -> FileView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
