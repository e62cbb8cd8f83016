"""Take the last migration of a file back, byte for byte."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.types import UndoReceipt
from ckpt_doctor.writer import names, sidecar, zip_append
from ckpt_doctor.writer.commit import ensure_folder_writable, ensure_quiet, refusing, space_checker
from ckpt_doctor.writer.files import copy_attributes, publish, restore_times, stamp_of, sync_visible, temporary_file
from ckpt_doctor.writer.locking import run_lock
from ckpt_doctor.writer.recover import recover
from ckpt_doctor.writer.signals import orderly_exit
from ckpt_doctor.writer.splice import Splice, apply_to, digest


def undo(path: Path, *, in_place: bool = False) -> UndoReceipt:
    """Give `path` back the bytes that it had before its last migration; call again for the one before.

    With `in_place` a torch zip is cut at its old size, in one system call that either happens or does not; otherwise,
    and always for streams and tar files, the old file is made beside it and renamed onto it, so that whoever is reading
    goes on undisturbed. A migration that was interrupted is rolled back, and that is the undo. Raises `WriteRefused`
    when there is no migration to undo, when the bytes do not fit what was noted at the time, and as `write` does.
    """
    target = Path(os.path.realpath(path))  # unlike resolve(), never raises on a link to itself
    if not target.is_file():  # opening a named pipe would wait for its other end
        raise WriteRefused(f"{target} is not a regular file")
    with refusing(f"{target} could not be undone and is as it was"), orderly_exit():
        before = target.stat().st_size
        ensure_folder_writable(target.parent)
        with run_lock(target):
            recovery = recover(target)
            if recovery is not None and recovery.action == "rolled-back":
                interrupted = ("the migration had been interrupted",)
                return UndoReceipt(target, before, recovery.size, _left(target), interrupted)
            fd = os.open(target, os.O_RDONLY)
            try:
                generations = sidecar.load(target, fd)
                notes = _rebuild(target, fd, generations) if generations else _cut(target, fd, in_place=in_place)
            finally:
                os.close(fd)
        return UndoReceipt(target, before, target.stat().st_size, _left(target), tuple(notes))


def last_record(fd: int, size: int) -> dict[str, Any] | None:
    """The record of the last migration in a zip file; None when the file is no zip or was never migrated."""
    entries = _records(fd, size)
    if not entries:
        return None
    try:
        record = json.loads(zip_append.read_record(fd, entries[-1]))
    except ValueError as error:
        raise WriteRefused(f"record {entries[-1].name} does not parse") from error
    return record if isinstance(record, dict) else None


def _records(fd: int, size: int) -> list[zip_append.Entry]:
    try:
        directory = zip_append.read_directory(fd, size)
    except WriteRefused:
        return []
    return [entry for entry in directory.entries if f"/{zip_append.FOLDER}/migration-" in entry.name]


def _left(target: Path) -> int:
    """Migrations that can still be undone."""
    with target.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return len(sidecar.load(target, file.fileno())) or len(_records(file.fileno(), size))


def _cut(target: Path, fd: int, *, in_place: bool) -> list[str]:
    """Undo in a zip file: the old file is a prefix of the new one."""
    status = os.fstat(fd)
    record = last_record(fd, status.st_size)
    if record is None:
        raise WriteRefused(f"{target} has no migration to undo")
    old_size = _ensure_old_end(fd, record, status.st_size, target)
    ensure_quiet(target, stamp_of(status))
    if not in_place:
        back = Splice(old_size, status.st_size - old_size, b"", appended=True)
        return _replace(target, fd, back, lambda new: _ensure_old_end(new, record, status.st_size, target))
    if not status.st_mode & stat.S_IWUSR:
        raise WriteRefused(f"{target} is read-only and cannot be edited in place")
    own = os.open(target, os.O_RDWR)
    try:
        os.ftruncate(own, old_size)
        restore_times(own, status)
        return sync_visible(own, target)
    finally:
        os.close(own)


def _ensure_old_end(fd: int, record: dict[str, Any], size: int, target: Path) -> int:
    """The size of the old file, once its end is known to be what the migration found."""
    old_size = record.get("previous_size")
    if not isinstance(old_size, int) or not 0 < old_size < size:
        raise WriteRefused(f"{target}: the record of its last migration does not say where the old file ends")
    if zip_append.read_directory(fd, old_size).digest != record.get("previous_sha256"):
        raise WriteRefused(f"{target} was changed since its last migration by another program: it cannot be undone")
    return old_size


def _rebuild(target: Path, fd: int, generations: list[sidecar.Generation]) -> list[str]:
    """Undo in a stream or tar file: the old program comes back from the sidecar."""
    last = generations[-1]
    ensure_quiet(target, stamp_of(os.fstat(fd)))

    def check(new: int) -> None:
        if digest(new, 0, last.old_size + 1) != last.old_file_sha256:
            raise WriteRefused(f"{target} was changed since its last migration by another program: it cannot be undone")

    notes = _replace(target, fd, last.back(), check)
    # Cut off here, the sidecar has a generation too many: `recover` sees that by the file and drops it.
    try:
        sidecar.store(target, generations[:-1])
    except OSError as error:
        notes.append(f"{names.undo_file(target)} could not be updated ({error.strerror}); the next run will")
    return notes


def _replace(target: Path, fd: int, back: Splice, check: Callable[[int], object]) -> list[str]:
    status = os.fstat(fd)
    temporary = names.temporary(target)
    with temporary_file(temporary) as new:
        apply_to(fd, new, status.st_size, back, space_checker(target.parent))
        check(new)
        notes = copy_attributes(status, fd, new)
        os.fsync(new)
        ensure_quiet(target, stamp_of(status))
        return notes + publish(temporary, target)
