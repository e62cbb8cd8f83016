"""A new file in the place of an old one: made beside it, checked, durable, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.types import FileStamp
from ckpt_doctor.writer.files import ensure_unchanged, free_space
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


def ensure_quiet(path: Path, stamp: FileStamp) -> None:
    """Raise `WriteRefused` when the file changed since it was read or another process has it open for writing."""
    ensure_unchanged(path, stamp)
    writers = [str(holder.pid) for holder in holders([path]) if holder.writing]
    if writers:
        raise WriteRefused(f"{path} is being written by process {', '.join(writers)}: left alone")


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
