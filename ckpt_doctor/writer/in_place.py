"""Editing a zip file itself: append behind its end, with a journal that tells a crash from a finished write.

Where the system grants a lease, whoever opens the file meanwhile waits. Where it does not (another process has the file
open, or the file system has none), a program that begins to write into the file after the last look mixes its bytes
with ours: only a replacement is safe from that.

The journal is durable before the first byte is appended and goes after the last check, so a file that has one was cut
off, and cutting it at `previous_size` gives the old file back. An interrupted migration is always rolled back, also
when all its bytes arrived: nobody had verified them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.types import FileStamp
from ckpt_doctor.writer import copying
from ckpt_doctor.writer.commit import ensure_quiet
from ckpt_doctor.writer.files import (
    CREATE,
    READ,
    alone,
    ensure_unchanged,
    is_named,
    opened,
    restore_times,
    sync_folder,
)
from ckpt_doctor.writer.splice import Splice, digest, ensure_applied, put

_LONGEST = 1 << 16
"""Bytes of a journal that is still read; one has about 300."""
_END_WINDOW = 65536
"""Bytes before the old end that must still be there: more than an end record can span."""


@dataclass(frozen=True, slots=True)
class Journal:
    """An in-place migration that was begun and not finished."""

    path: Path
    previous_size: int
    new_size: int
    previous_end_sha256: str
    """Of the last bytes (at most 64 KiB) of the old file."""
    atime_ns: int
    mtime_ns: int


State = Literal["cut-off", "whole", "foreign"]


def interrupted(path: Path) -> Journal | None:
    """The migration of `path` that was cut off and left bytes behind the old end; None when there is none.

    Rolling back, which `recover` and the next migration do, cuts the file at `previous_size` bytes.
    """
    target = Path(os.path.realpath(path))  # unlike resolve(), never raises on a link to itself
    found = read_journal(target)
    if found is None:
        return None
    try:
        fd = os.open(target, READ)
    except OSError:
        return None
    try:
        return found if state(found, fd) == "cut-off" else None
    finally:
        os.close(fd)


def read_journal(target: Path) -> Journal | None:
    """The journal beside `target`. One that does not parse was itself cut off, before anything was appended: None.

    Raises `WriteRefused` for one that another version wrote, since what it says must not be guessed at, and as its
    subclass `ForeignFile` for what is not a journal.
    """
    try:
        fields = json.loads(names.read(names.journal(target), _LONGEST))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    try:
        found = Journal(path=target, **fields)
        sizes = (found.previous_size, found.new_size, found.atime_ns, found.mtime_ns)
        if not all(type(number) is int and abs(number) < 1 << 63 for number in sizes):
            raise TypeError("a field of another type")
        return found
    except TypeError as error:
        raise WriteRefused(
            f"{target}: an in-place migration by another version of ckpt-doctor was cut off; that version's next run "
            "rolls it back"
        ) from error


def state(found: Journal, fd: int) -> State:
    """The state of a file with a journal.

    `cut-off`: the old file with something behind it. `whole`: the old file. `foreign`: neither, as when a trainer saved
    a new checkpoint under the name; the journal then means nothing.
    """
    size = os.fstat(fd).st_size
    if not 0 < found.previous_size <= size <= found.new_size:
        return "foreign"
    end = digest(fd, max(0, found.previous_size - _END_WINDOW), found.previous_size)
    if end != found.previous_end_sha256:
        return "foreign"
    return "whole" if size == found.previous_size else "cut-off"


def roll_back(found: Journal, fd: int) -> bool:
    """Roll an interrupted append back: cut the open file at its old size, restore its times. Whether there was one."""
    with alone(fd):
        if state(found, fd) != "cut-off":
            return False
        os.ftruncate(fd, found.previous_size)
        os.utime(fd, ns=(found.atime_ns, found.mtime_ns))
    os.fsync(fd)
    return True


def remove_journal(target: Path) -> None:
    """Remove the journal durably."""
    names.journal(target).unlink(missing_ok=True)
    sync_folder(target.parent)


def append(target: Path, fd: int, stamp: FileStamp, splice: Splice, verify: Callable[[Path], None]) -> None:
    """Append to the open file, check, and commit; on any failure, an interrupt included, the old file is back."""
    before = os.fstat(fd)
    entry = Journal(
        path=target,
        previous_size=splice.start,
        new_size=splice.new_size(splice.start),
        previous_end_sha256=digest(fd, max(0, splice.start - _END_WINDOW), splice.start),
        atime_ns=before.st_atime_ns,
        mtime_ns=before.st_mtime_ns,
    )
    try:
        _write_journal(entry)
        with alone(fd) as granted:
            if granted:
                ensure_unchanged(target, stamp)
            else:
                ensure_quiet(target, stamp)
            put(fd, splice)
            ensure_applied(fd, splice.start, splice)
            os.fsync(fd)
            restore_times(fd, before)
        verify(target)
        now = os.fstat(fd)
        changed = (now.st_size, now.st_mtime_ns) != (entry.new_size, entry.mtime_ns)
        if changed or not is_named(target, fd):
            raise WriteRefused(f"{target} was changed by another program during the migration: left alone")
        names.journal(target).unlink()
    except BaseException:
        # Only what is ours is taken back: a file that another program made anew is left to it.
        roll_back(entry, fd)
        remove_journal(target)
        raise
    sync_folder(target.parent)


def _write_journal(entry: Journal) -> None:
    path = names.journal(entry.path)
    fields = asdict(entry)
    del fields["path"]
    with opened(path, CREATE) as fd:
        copying.write_all(fd, json.dumps(fields).encode(), 0)
        os.fsync(fd)
    sync_folder(path.parent)
