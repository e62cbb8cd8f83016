"""A new file in the place of an old one: made beside it, checked, durable, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.types import FileStamp
from ckpt_doctor.writer.files import ensure_unchanged, exchange, free_space, is_named, sync_folder
from ckpt_doctor.writer.handles import holders

SPARE = 1 << 20
"""Bytes to leave free: a file system needs blocks for its own tables."""


@contextmanager
def refusing(consequence: str) -> Iterator[None]:
    """Turn what the operating system refuses into `WriteRefused`: the consequence, then the reason."""
    try:
        yield
    except OSError as error:
        raise WriteRefused(f"{consequence}: {error.strerror or error}") from error


def ensure_quiet(path: Path, stamp: FileStamp, *, at: Path | None = None) -> None:
    """Raise `WriteRefused` when the file changed since it was read or another process has it open for writing.

    `at` is where it lies now, if its name has been taken from it. The search for open handles is the slow part, so the
    file's own state, which it may miss a change of, is looked at last.
    """
    writers = [str(holder.pid) for holder in holders([at or path]) if holder.writing]
    if writers:
        raise WriteRefused(f"{path} is being written by process {', '.join(writers)}: left alone")
    ensure_unchanged(path, stamp, at=at)


def take_place(temporary: Path, new: int, target: Path, stamp: FileStamp) -> list[str]:
    """Put the finished copy (open as `new`) in the place of the file of that `stamp`, durably; returns notes.

    The two names are exchanged, so that what comes out can be looked at when nobody can open it any more. If it is not
    that file, or is being written, it gets its name back, and `WriteRefused` is raised. Until then the copy has a
    second name, by which the next run recognises a kill in between. Where names cannot be exchanged, the last look
    comes right before the rename.
    """
    marker = names.new(target)
    ensure_unchanged(target, stamp)
    marked = _linked(temporary, marker)
    try:
        if marked and exchange(temporary, target):
            ensure_quiet(target, stamp, at=temporary)
            marker.unlink()
            temporary.unlink()
        else:
            ensure_quiet(target, stamp)
            temporary.replace(target)
    except BaseException:
        # By what the names say: an interrupt can come just after the exchange.
        if os.path.lexists(temporary) and not is_named(temporary, new):
            put_back(temporary, target, os.fstat(new))
        if marked:
            marker.unlink(missing_ok=True)
        raise
    if marked:
        with suppress(OSError):  # the next run will
            marker.unlink(missing_ok=True)
    return sync_folder(target.parent)


def _linked(temporary: Path, marker: Path) -> bool:
    try:
        marker.hardlink_to(temporary)
    except OSError:  # no hard links here
        return False
    return True


def put_back(temporary: Path, target: Path, copy: os.stat_result) -> None:
    """Give what came out at `temporary` its name `target` again, and remove the `copy` that took it.

    When somebody has saved under the name once more, that newer file keeps it.
    """
    seen = [copy]
    while True:
        seen.append(temporary.lstat())
        try:
            if not exchange(temporary, target):
                raise WriteRefused(f"{target}: what had been saved here is in {temporary} and could not be put back")
        except FileNotFoundError:  # removed meanwhile
            temporary.replace(target)
            return
        out = temporary.lstat()
        if any(os.path.samestat(out, other) for other in seen):
            temporary.unlink()
            return


def space_checker(folder: Path) -> Callable[[int], None]:
    """A function that raises `WriteRefused` when `folder` has no room for so many bytes."""

    def ensure_space(needed: int) -> None:
        free = free_space(folder)
        if free is not None and free < needed + SPARE:
            raise WriteRefused(
                f"{folder} has {free:,} bytes free and {needed + SPARE:,} are needed: nothing was written"
            )

    return ensure_space


def ensure_folder_writable(folder: Path) -> None:
    """Raise `WriteRefused` when no file can be made in `folder`."""
    if not folder.is_dir():
        raise WriteRefused(f"the folder {folder} is gone: nothing was written")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise WriteRefused(f"the folder {folder} is read-only: nothing was written")


@contextmanager
def folder_for(target: Path, *, make: bool) -> Iterator[None]:
    """A context in which the folder of `target` takes new files; with `make` it is made, and removed if left empty."""
    folder = target.parent
    missing = [path for path in (folder, *folder.parents) if make and not path.exists()]
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        ensure_folder_writable(folder)
        yield
    finally:
        for path in missing:  # the deepest first
            with suppress(OSError):
                path.rmdir()
