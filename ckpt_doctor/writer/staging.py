"""A folder built beside another one: unchanged files are linked or copied, the places of changed ones stay free."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.writer import copying
from ckpt_doctor.writer.files import CREATE, READ, copy_attributes, opened
from ckpt_doctor.writer.folder_state import NOFOLLOW, FolderEntry, FolderState, entry_of

_NO_LINKS = frozenset(
    {errno.EPERM, errno.EACCES, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
)
"""What link(2) says where a file cannot have another name: the file system, the kernel's `protected_hardlinks`."""

Space = Callable[[int], None]
"""Raises `WriteRefused` when there is no room for so many bytes."""


def build(staged: Path, entries: FolderState, sources: Mapping[str, Path], share: bool, ensure_space: Space) -> None:
    """Make the folder `staged` with the folders and links of `entries`, and with those of its files that have a source.

    With `share` a file gets another name where that is possible; else its bytes are copied, with its attributes, and
    compared by their hash. `finish` comes last.
    """
    for name, entry in entries.items():
        place = staged / name
        if entry.kind == "folder":
            place.mkdir(0o700)
        elif entry.kind == "link":
            make_link(place, entry)
        elif name in sources:
            set_aside(sources[name], place, entry, share, ensure_space)


def make_link(place: Path, entry: FolderEntry) -> None:
    """Make a symbolic link as it was noted."""
    place.symlink_to(entry.target)
    os.utime(place, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)


def set_aside(source: Path, place: Path, entry: FolderEntry, share: bool, ensure_space: Space) -> None:
    """Give the file another name, or a copy, that holds what was noted."""
    if share and _linked(source, place):
        return
    _copy(source, place, entry, ensure_space)
    if (now := entry_of(place)) is None or now.content != entry.content:
        raise WriteRefused(f"{source} changed while it was copied, or does not read back: left alone")


def _linked(source: Path, place: Path) -> bool:
    try:
        os.link(source, place, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    return True


def _copy(source: Path, place: Path, entry: FolderEntry, ensure_space: Space) -> None:
    with opened(source, READ | NOFOLLOW) as old, opened(place, CREATE) as new:
        status = os.fstat(old)
        if not copying.clone(old, new):
            ensure_space(copying.allocated(old))
            copying.copy_range(old, new, 0, status.st_size)
        copy_attributes(status, old, new)
        os.utime(new, ns=(status.st_atime_ns, entry.mtime_ns))
        os.fsync(new)


def finish(staged: Path, entries: FolderState, like: Path) -> list[str]:
    """Give the folders the modes and times of `entries`, owner and extended attributes of those in `like`; durably."""
    notes: list[str] = []
    for name, entry in reversed(list(entries.items())):
        if entry.kind != "folder":
            continue
        with opened(staged / name, READ | NOFOLLOW) as new:
            notes += _attributes(like / name, new)
            os.fchmod(new, entry.mode)
            os.utime(new, ns=(entry.mtime_ns, entry.mtime_ns))
            os.fsync(new)
    return list(dict.fromkeys(notes))


def _attributes(like: Path, new: int) -> list[str]:
    try:
        old = os.open(like, READ | NOFOLLOW)
    except OSError:  # a folder that is gone, or is something else by now
        return []
    try:
        return copy_attributes(os.fstat(old), old, new)
    finally:
        os.close(old)


def restore_times(folder: Path, before: FolderState, after: FolderState) -> None:
    """Give folders, and files that were only touched, the times of `after`.

    Tools that sort by them must find the checkpoint where it was.
    """
    for name, entry in after.items():
        same = name in before and before[name].content == entry.content
        touched = same and entry.kind == "file" and before[name].mtime_ns != entry.mtime_ns
        if touched or (entry.kind == "folder" and (folder / name).lstat().st_mtime_ns != entry.mtime_ns):
            os.utime(folder / name, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
