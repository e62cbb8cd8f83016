"""Take the last migration of a file back, byte for byte."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.types import Proof, UndoReceipt, stamp_of
from ckpt_doctor.writer import sidecar
from ckpt_doctor.writer.commit import ensure_folder_writable, ensure_quiet, refusing, space_checker, take_place
from ckpt_doctor.writer.files import (
    READ,
    alone,
    copy_attributes,
    ensure_unchanged,
    opened,
    restore_times,
    sync_visible,
    temporary_file,
)
from ckpt_doctor.writer.folder import undo_unit
from ckpt_doctor.writer.generations import damage_of
from ckpt_doctor.writer.locking import run_lock
from ckpt_doctor.writer.previous import Previous, previous_states
from ckpt_doctor.writer.recover import recover
from ckpt_doctor.writer.signals import orderly_exit
from ckpt_doctor.writer.splice import Splice, apply_to, digest


def undo(path: Path, *, in_place: bool = False) -> UndoReceipt:
    """Give `path` back the bytes that it had before its last migration; call again for the one before.

    A unit that is a folder gets all its parts back (`folder.undo_unit`), never in place.

    With `in_place` a torch zip is cut at its old size, in one system call that either happens or does not; otherwise,
    and always for streams and tar files, the old file is made beside it and renamed onto it, so that whoever is reading
    goes on undisturbed. A migration that was interrupted is rolled back, and that is the undo. Raises `WriteRefused`
    when there is no migration to undo, when the bytes do not fit what was noted at the time, and as `write` does.
    """
    target = Path(os.path.realpath(path))  # unlike resolve(), never raises on a link to itself
    if target.is_dir():
        if in_place:
            raise WriteRefused(f"{target} is a folder of several files and cannot be edited in place")
        return undo_unit(target)
    if not target.is_file():  # opening a named pipe would wait for its other end
        raise WriteRefused(f"{target} is not a regular file")
    with refusing(f"{target} could not be undone and is as it was"), orderly_exit():
        before = target.stat().st_size
        ensure_folder_writable(target.parent)
        with run_lock(target):
            if recover(target) == "rolled-back":
                return UndoReceipt(before, target.stat().st_size, notes=("the migration had been interrupted",))
            with opened(target, os.O_RDWR if in_place and os.access(target, os.W_OK) else READ) as fd:
                generations = sidecar.load(target, fd)
                if generations:
                    proof, notes = _rebuild(target, fd, generations)
                else:
                    proof, notes = _cut(target, fd, in_place=in_place)
        return UndoReceipt(before, target.stat().st_size, proof, tuple(notes))


def undo_damage(path: Path) -> tuple[str, bool]:
    """Why undo could not restore everything, empty where it can; and whether hashes show that it can."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        return damage_of(target), True
    hashed = True
    try:
        with opened(target) as fd:
            sidecar.ensure_whole(target, fd)
            for state in previous_states(fd):
                state.ensure_in(fd)
                hashed = hashed and state.rest_sha256 is not None
    except WriteRefused as refusal:
        return str(refusal), hashed
    return "", hashed


def _cut(target: Path, fd: int, *, in_place: bool) -> tuple[Proof, list[str]]:
    """Undo in a zip file: the old file is a prefix of the new one."""
    status = os.fstat(fd)
    states = previous_states(fd)
    previous = next(states, None)
    if previous is None:
        raise WriteRefused(f"{target} has no migration to undo")
    previous.ensure_in(fd)
    proof: Proof = "checksums" if previous.rest_sha256 is None else "rest"
    notes = []
    known: list[Previous] = []
    try:
        known.extend(states)
        for earlier in known:
            earlier.ensure_in(fd)
    except WriteRefused:
        for earlier in known:  # what stands there is given back, too
            earlier.ensure_records_in(fd)
        proof = "none"
        notes.append("what the migrations before this one had set aside is damaged: they cannot be taken back")
    ensure_quiet(target, stamp_of(status))
    if not in_place:
        back = Splice(previous.size, status.st_size - previous.size, b"", appended=True)
        return proof, notes + _replace(target, fd, back, previous.ensure_in)
    if not status.st_mode & stat.S_IWUSR:
        raise WriteRefused(f"{target} is read-only and cannot be edited in place")
    with alone(fd):
        ensure_unchanged(target, stamp_of(status))
        os.ftruncate(fd, previous.size)
        restore_times(fd, status)
    return proof, notes + sync_visible(fd, target)


def _rebuild(target: Path, fd: int, generations: list[sidecar.Generation]) -> tuple[Proof, list[str]]:
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
    return "file", notes


def _replace(target: Path, fd: int, back: Splice, check: Callable[[int], object]) -> list[str]:
    status = os.fstat(fd)
    temporary = names.temporary(target)
    with temporary_file(temporary) as new:
        apply_to(fd, new, status.st_size, back, space_checker(target.parent))
        check(new)
        notes = copy_attributes(status, fd, new)
        os.fsync(new)
        return notes + take_place(temporary, new, target, stamp_of(status))
