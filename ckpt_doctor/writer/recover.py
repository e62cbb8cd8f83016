"""What the next run does about one that was killed."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from ckpt_doctor.types import Recovery
from ckpt_doctor.writer import in_place, names, sidecar
from ckpt_doctor.writer.commit import refusing
from ckpt_doctor.writer.locking import run_lock

_PROBABLY_DEAD = 3600.0
"""Seconds after which a temporary file is litter where no lock tells whether its writer lives."""


def recover(path: Path) -> Recovery | None:
    """Bring `path` back to a whole state after a run that was cut off; None when there was nothing to do.

    An in-place migration that was not finished is rolled back. Temporary files are removed, and undo data of a
    migration or an undo that did not come to be, or that is no longer of use, is brought in line with the file.
    Raises `WriteRefused` when the disk does not let it.
    """
    target = path.resolve()
    with run_lock(target) as lock, refusing(f"{target} could not be recovered"):
        cleaned = remove_leftovers(target, certain=lock.exclusive)
        rolled_back = False
        if names.journal(target).exists():
            cleaned = True
            rolled_back = _roll_back(target)
        if target.exists() and names.undo_file(target).exists():
            cleaned |= _settle_sidecar(target)
        if not cleaned:
            return None
        size = target.stat().st_size if target.exists() else 0
        return Recovery(target, "rolled-back" if rolled_back else "cleaned", size)


def remove_leftovers(target: Path, *, certain: bool) -> bool:
    """Remove the temporary files of killed runs; whether there were any. The caller holds the run's lock.

    Who makes such files holds the lock, so they have no owner any more; unless the lock is not `certain`.
    """
    removed = False
    for path in names.leftovers(target):
        with suppress(FileNotFoundError):
            if certain or time.time() - path.stat().st_mtime > _PROBABLY_DEAD:
                path.unlink()
                removed = True
    return removed


def _roll_back(target: Path) -> bool:
    found = in_place.read_journal(target)
    rolled_back = False
    if found is not None and target.exists():
        fd = os.open(target, os.O_RDWR)
        try:
            if in_place.state(found, fd) == "cut-off":
                in_place.roll_back(found, fd)
                rolled_back = True
        finally:
            os.close(fd)
    in_place.remove_journal(target)
    return rolled_back


def _settle_sidecar(target: Path) -> bool:
    """Drop a last generation that the file does not show. A sidecar of another file is left for the next write."""
    fd = os.open(target, os.O_RDONLY)
    try:
        pending = sidecar.pending(target, fd)
        if pending:
            sidecar.store(target, sidecar.load(target, fd))
        return pending
    finally:
        os.close(fd)
