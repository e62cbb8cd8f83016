"""The archive as it was before a migration: a prefix of the file, of which parts are dead bytes until undo needs them.

Nobody reads dead bytes, and no checksum in use covers them. The record of each migration therefore has three SHA-256:
of the old end (directory and end record); of the rest: all bytes since the migration before it, without the data of
records that both archives list; and of that data, but for the tensors, which have checksums of their own and which no
migration touches.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert.hashing import sha256
from ckpt_doctor.inert.zip_structures import STORED, Directory, Entry
from ckpt_doctor.writer import copying, zip_append

_TENSORS = ("data/", "constants/")
"""Folders below an archive's own that hold tensors."""


@dataclass(frozen=True, slots=True)
class Previous:
    """What the record of a migration says of the archive before it."""

    size: int
    start: int
    """Where the rest begins: the size that the migration before it noted."""
    kept: frozenset[tuple[str, int]]
    """Name and place of the records that the archive after the migration still lists."""
    end_sha256: object
    rest_sha256: object
    """None where an older version migrated the file."""
    records_sha256: object
    """None where an older version migrated the file."""

    def ensure_in(self, fd: int) -> None:
        """Raise `WriteRefused` unless the first `size` bytes of the file are that archive."""
        old = zip_append.read_directory(fd, self.size)
        whole = zip_append.end_digest(fd, old) == self.end_sha256
        kept = [entry for entry in old.entries if (entry.name, entry.header) in self.kept]
        if self.rest_sha256 is None:
            for entry in old.entries:
                if entry.crc and entry.method == STORED and (entry.name, entry.header) not in self.kept:
                    zip_append.read_record(fd, entry)
        else:
            whole = whole and rest_digest(fd, old, self.start, kept) == self.rest_sha256
        if not whole:
            raise WriteRefused("the bytes of the state before the last migration have changed since")
        self._ensure_records(fd, old)

    def ensure_records_in(self, fd: int) -> None:
        """Raise `WriteRefused` where a record that is still listed is not what it was; tensors are not looked at."""
        self._ensure_records(fd, zip_append.read_directory(fd, self.size))

    def _ensure_records(self, fd: int, old: Directory) -> None:
        kept = [entry for entry in old.entries if (entry.name, entry.header) in self.kept]
        if self.records_sha256 not in (None, records_digest(fd, old, self.start, kept)):
            raise WriteRefused("a small record of the archive, such as its byte order, has changed since the migration")


def rest_digest(fd: int, old: Directory, start: int, kept: Collection[Entry]) -> str:
    """SHA-256 of the bytes from `start` to the end of the archive, without the data of the `kept` records."""

    def pieces() -> Iterator[bytes]:
        at = start
        for entry in sorted(kept, key=lambda entry: entry.header):
            begin = zip_append.data_offset(fd, entry)
            yield from copying.pieces(fd, at, min(begin, old.size))
            at = max(at, begin + entry.compressed)
        yield from copying.pieces(fd, at, old.size)

    return sha256(pieces())


def records_digest(fd: int, old: Directory, start: int, kept: Collection[Entry]) -> str:
    """SHA-256 of the data of those `kept` records that are not tensors and stand at `start` or behind it."""

    def pieces() -> Iterator[bytes]:
        at = start
        for entry in sorted(kept, key=lambda entry: entry.header):
            if entry.name.partition("/")[2].startswith(_TENSORS):
                continue
            begin = zip_append.data_offset(fd, entry)
            yield from copying.pieces(fd, max(at, begin), min(begin + entry.compressed, old.size))
            at = max(at, begin + entry.compressed)

    return sha256(pieces())


def last_record(fd: int, directory: Directory) -> dict[str, Any] | None:
    """The record of the last migration that an archive lists; None where it was never migrated."""
    entries = [entry for entry in directory.entries if f"/{zip_append.FOLDER}/migration-" in entry.name]
    if not entries:
        return None
    try:
        record = json.loads(zip_append.read_record(fd, entries[-1]))
    except (ValueError, RecursionError) as error:
        raise WriteRefused(f"record {entries[-1].name} does not parse") from error
    return record if isinstance(record, dict) else None


def previous_size(record: dict[str, Any] | None, size: int) -> int:
    """Where the archive before the migration ends. Raises `WriteRefused` where its record does not say."""
    old_size = record.get("previous_size") if record is not None else 0
    if not isinstance(old_size, int) or not (record is None or 0 < old_size < size):
        raise WriteRefused("the record of a migration does not say where the old file ends")
    return old_size


def previous_states(fd: int) -> Iterator[Previous]:
    """The states that undo can go back to, the last one first. Raises `WriteRefused` where one cannot be made out."""
    size = unread = os.fstat(fd).st_size
    try:
        directory = zip_append.read_directory(fd, size)
    except WriteRefused:  # not a zip, or one that nothing can be appended to
        return
    while record := last_record(fd, directory):
        size = previous_size(record, size)
        old = zip_append.read_directory(fd, size)
        unread -= old.size - old.offset
        if unread < 0:  # made up: they would be read over and over
            raise WriteRefused("the directories of earlier states overlap")
        yield Previous(
            size,
            previous_size(last_record(fd, old), size),
            frozenset((entry.name, entry.header) for entry in directory.entries),
            record.get("previous_sha256"),
            record.get("previous_rest_sha256"),
            record.get("previous_records_sha256"),
        )
        directory = old
