"""The view of an object behind a URL: few requests, each of them planned.

The first look brings the beginning and the end at one go, or all of a small object. What is read later in small pieces
comes with its surroundings; what a reader plans comes at one go, neighbours together.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from ckpt_doctor.errors import ensure_supported
from ckpt_doctor.readers.file_view import WHOLE, FileView, Range
from ckpt_doctor.remote import RemoteError, RemotePath
from ckpt_doctor.threads import in_threads
from ckpt_doctor.types import A_COPY, Checkpoint, FileStamp, NotChecked

HEAD = 1 << 16
TAIL = 66 << 10
"""Of an archive the end record and the directory; a search for an appended archive reads 65,557 bytes."""
GAP = 1 << 17
"""Bytes between two planned reads that cost less than another request."""
_AHEAD = 1 << 16
"""Bytes that an unplanned read brings at least."""
_KEPT = 1 << 20
"""Bytes of the largest read that is kept."""
_MOST_SAMPLES = 8
_MOST_SAMPLED = 1 << 20
"""Small values of which a file has very many: requests, and bytes with what lies between, that they may cost."""
_PIECE = 8 << 20
"""Bytes of one request where an object is read through."""
_MOST_AT_ONCE = 8
MOST_UNPLANNED = 64
"""Requests that a reader may make without a plan: more would be one for each tensor."""


class RemoteView(FileView):
    """An object at a URL, read as a file."""

    def __init__(self, path: RemotePath) -> None:
        ensure_supported()
        self.path = self.url = path
        self.store = path.store
        self.entry = self.store.look(path)
        self.mode = self.entry.status.st_mode
        self.size = self.entry.size
        self.far = self.size > WHOLE
        self.stamp = FileStamp(-1, self.entry.identity, self.size, int(self.entry.mtime * 1e9))
        self.bytes_read = 0
        self._blocks = self.store.take(path, self.entry)
        self._unplanned = 0
        self._piece = (0, b"")

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes at `offset`."""
        count = min(count, self.size - offset)
        if offset < 0 or count <= 0:
            return b""
        if self._kept(offset, count) is None and not self._blocks.looked:
            self._look()
        found = self._kept(offset, count)
        return self._more(offset, count) if found is None else found

    def has(self, offset: int, count: int) -> bool:
        """Whether bytes are here after the first look, as far as the object has them."""
        if not self._blocks.looked:
            self._look()
        count = min(count, self.size - offset)
        return count <= 0 or self._kept(offset, count) is not None

    def plan(self, ranges: Iterable[Range]) -> None:
        """Read ranges at one go: those that lie near each other in one request."""
        wanted = [self._missing(at, at + count) for at, count in ranges if count > 0 and not self.has(at, count)]
        for start, raw in self._fetch(merged([(at, end) for at, end in wanted if at < end], self.size)):
            self._blocks.add(start, raw)

    def read_through(self, offset: int, count: int) -> bytes:
        """As `read_at`, from the pieces of `read_into`, of which none is kept."""
        found = bytearray(max(0, min(count, self.size - offset)))
        at = 0
        while at < len(found) and (more := self.read_into(memoryview(found)[at:], offset + at)):
            at += more
        return bytes(found[:at])

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill a buffer from pieces that are read one behind the other."""
        start, piece = self._blocks.around(offset) or self._piece
        if not start <= offset < start + len(piece):
            end = min(offset + _PIECE, self.size)
            if end <= offset:
                return 0
            [(start, piece)] = self._fetch([(offset, end)])
            self._piece = start, piece
        found = memoryview(piece)[offset - start : offset - start + len(buffer)]
        buffer[: len(found)] = found
        return len(found)

    def size_now(self) -> int:
        """The size: an object does not grow."""
        return self.size

    def stored_from(self, offset: int) -> int | None:
        """The next bytes that tell whether an object of zeros holds anything: those of its end."""
        return offset if offset == 0 else self.size - TAIL if offset < self.size - TAIL else None

    def stored_until(self) -> int:
        """The end."""
        return self.size

    def confirmed(self, checkpoint: Checkpoint) -> Checkpoint:
        """What was read; `RemoteError` where it looks damaged, and a part has other bytes when it is asked for again.

        Caches shift ranges, and not every server has a sign of the content by which another object is known.
        """
        if self._blocks.requests < 2:
            return checkpoint
        _, head = self._blocks.around(0) or (0, b"")
        if checkpoint.damage and len(head) > 1:
            [(_, again)] = self._fetch([(1, min(len(head), HEAD))])
            if not head.startswith(again, 1):
                raise RemoteError("the server gives other bytes of the same part than before: get a copy", self.path)
        if self.entry.tag or self.entry.mtime:
            return checkpoint
        unsure = NotChecked("whether all parts that were read are of one object", "its server gives no ETag", A_COPY)
        return replace(checkpoint, not_checked=(*checkpoint.not_checked, unsure))

    def close(self) -> None:
        """Make sure that all bytes were of one object, and leave the small ones to the next view of it."""
        if self._blocks.requests > max(1, self._blocks.compared):
            self.store.confirm(self.url, self.entry)
            self._blocks.compared = self._blocks.requests
        if self.bytes_read:
            self.store.leave(self.url, self._blocks)

    def __exit__(self, kind: object = None, *_: object) -> None:
        if kind is None:
            self.close()

    def look_ahead(self) -> None:
        """Read what the first look brings, and leave it to the next view."""
        self.has(0, 1)
        self.store.leave(self.url, self._blocks)

    def _look(self) -> None:
        self._blocks.looked = True
        here = len(self._blocks.raw[0]) if self._blocks.starts[:1] == [0] else 0
        ends = [(here, HEAD), (self.size - TAIL, self.size)]
        wanted = [(here, self.size)] if self.size <= WHOLE else ends
        for start, raw in self._fetch([(start, end) for start, end in wanted if start < end]):
            self._blocks.add(start, raw)

    def _more(self, offset: int, count: int) -> bytes:
        """Bytes that nobody planned to read, less those of them that are here."""
        start, end = self._missing(offset, offset + count)
        if end == offset + count:
            end = min(self.size, max(end, start + _AHEAD))
        found = self._fetch([(start, end)] if start < end else [])  # two blocks that touch lack nothing
        self._unplanned += len(found)
        if self._unplanned > MOST_UNPLANNED:
            sentence = f"it is laid out so that reading it takes more than {MOST_UNPLANNED} requests: download a copy"
            raise RemoteError(sentence, self.path)
        end = max(start, end)
        before, behind = self._blocks.around(offset), self._blocks.around(end)
        parts = [] if before is None or start == offset else [before[1][offset - before[0] :]]
        for start, raw in found:
            parts.append(raw)
            if len(raw) <= _KEPT:
                self._blocks.add(start, raw)
        parts += [] if behind is None else [behind[1][end - behind[0] :]]
        return b"".join(parts)[:count]

    def _missing(self, start: int, end: int) -> tuple[int, int]:
        """A range without what is here of its beginning and its end."""
        before, behind = self._blocks.around(start), self._blocks.around(end - 1)
        return (start if before is None else before[0] + len(before[1])), (end if behind is None else behind[0])

    def _fetch(self, ranges: list[tuple[int, int]]) -> list[tuple[int, bytes]]:
        found = self.store.read(self.url, self.entry, ranges)
        self._blocks.requests += len(ranges)
        self.bytes_read += sum(map(len, found))
        return [(start, raw) for (start, _), raw in zip(ranges, found, strict=True)]

    def _kept(self, offset: int, count: int) -> bytes | None:
        block = self._blocks.around(offset)
        if block is None:
            return None
        inside = offset - block[0]
        return block[1][inside : inside + count] if inside + count <= len(block[1]) else None


def look_ahead(paths: Iterable[RemotePath]) -> None:
    """Look at several objects at the same time. One that cannot be read is left to whoever opens it."""

    def look(path: RemotePath) -> None:
        with suppress(OSError):
            if not path.is_dir():
                RemoteView(path).look_ahead()

    in_threads(look, paths, _MOST_AT_ONCE)


def sampled(places: Iterable[Range], size: int) -> list[Range]:
    """Of the places of small values those that are read: all where few requests bring them, else a spread of them."""
    groups = merged([(at, at + count) for at, count in places], size, _MOST_SAMPLED)
    last = len(groups) - 1
    spread = {round(last * n / (_MOST_SAMPLES - 1)) for n in range(_MOST_SAMPLES)} if last >= 0 else set()
    left, chosen = _MOST_SAMPLED, []
    for index in sorted(spread, key=lambda index: (index not in (0, last), index)):
        start, end = groups[index]
        if end - start <= left:
            left -= end - start
            chosen.append((start, end - start))
    return chosen


def merged(ranges: Iterable[tuple[int, int]], size: int, most: int = 1 << 62) -> list[tuple[int, int]]:
    """Ranges in order, within the object; those that nearly touch are one, up to `most` bytes."""
    found: list[tuple[int, int]] = []
    for start, end in sorted((start, min(end, size)) for start, end in ranges if start < size):
        if found and start - found[-1][1] <= GAP and end - found[-1][0] <= most:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
