"""Recovery of files that a killed run left behind, by the next run."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.types import Recovery
from ckpt_doctor.writer import in_place, sidecar, zip_append
from ckpt_doctor.writer.commit import put_back, refusing
from ckpt_doctor.writer.files import opened, sync_folder
from ckpt_doctor.writer.locking import run_lock
from ckpt_doctor.writer.unit_commit import recover_unit, unit_that_came_out

_PROBABLY_DEAD = 3600.0
"""Seconds after which a temporary file is litter where no lock tells whether its writer lives."""


def recover(path: Path) -> Recovery | None:
    """Bring `path` back to a whole state after a run that was cut off; None when there was nothing to do.

    An in-place migration that was not finished is rolled back, and so is a change of a unit that did not count yet.
    Temporary files are removed, and undo data of a migration or an undo that did not come to be, or that is no longer
    of use, is brought in line with the file.
    Raises `WriteRefused` when the disk does not let it.
    """
    target = path.resolve()
    if target.is_dir() or (not target.exists() and os.path.lexists(names.store(target))):
        return recover_unit(target)
    with run_lock(target) as lock, refusing(f"{target} could not be recovered"):
        rolled_back = _exchange_back(target)
        cleaned = remove_leftovers(target, certain=lock.exclusive) or rolled_back
        if os.path.lexists(names.journal(target)):
            cleaned = True
            rolled_back |= _roll_back(target)
        if target.exists() and os.path.lexists(names.undo_file(target)):
            cleaned |= _settle_sidecar(target)
        if not cleaned:
            return None
        return "rolled-back" if rolled_back else "cleaned"


def came_out(path: Path) -> Path | None:
    """The file or the unit's folder that a killed run had taken from its place and not compared; None without any."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        return unit_that_came_out(target)
    copies = [other for other in (names.new(target), target) if other.is_file() and not other.is_symlink()]
    if len(copies) < 2 or not target.samefile(copies[0]):
        return None
    return next((other for other in names.leftovers(target, ".ckpt-doctor") if not target.samefile(other)), None)


def _exchange_back(target: Path) -> bool:
    before, marker = came_out(target), names.new(target)
    if before is not None:
        put_back(before, target, target.stat())
        sync_folder(target.parent)
    if marker.is_file():
        marker.unlink()
    return before is not None


def remove_leftovers(target: Path, *, certain: bool) -> bool:
    """Remove the temporary files of killed runs; whether there were any. The caller holds the run's lock.

    Who makes such files holds the lock, so they have no owner any more; unless the lock is not `certain`.
    """
    removed = False
    for path in names.leftovers(target):
        with suppress(FileNotFoundError, IsADirectoryError):
            if certain or time.time() - path.lstat().st_mtime > _PROBABLY_DEAD:
                path.unlink()
                removed = True
    return removed


def _roll_back(target: Path) -> bool:
    found = in_place.read_journal(target)
    rolled_back = False
    if found is not None and target.exists():
        with opened(target, os.O_RDWR) as fd:
            rolled_back = in_place.roll_back(found, fd)
    if not rolled_back and target.exists():
        _ensure_finished(target)
    in_place.remove_journal(target)
    return rolled_back


def _ensure_finished(target: Path) -> None:
    """Raise `WriteRefused` for an archive without an end: its journal, which does not fit, may be damaged itself."""
    try:
        with opened(target) as fd:
            if os.pread(fd, 4, 0) == b"PK\x03\x04":
                zip_append.read_directory(fd, os.fstat(fd).st_size)
    except WriteRefused as error:
        beside = names.journal(target).name
        raise WriteRefused(
            f"{target} has no end, and {beside} does not say where the end was: both are left alone"
        ) from error


def _settle_sidecar(target: Path) -> bool:
    """Drop a last generation that the file does not show. A sidecar of another file is left for the next write."""
    with opened(target) as fd:
        pending = sidecar.pending(target, fd)
        if pending:
            sidecar.store(target, sidecar.load(target, fd))
        return pending
