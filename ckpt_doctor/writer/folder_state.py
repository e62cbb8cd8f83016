"""The content of a folder, as found and as noted, so that two states of it can be compared."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.inert.hashing import sha256
from ckpt_doctor.writer import copying
from ckpt_doctor.writer.files import READ, opened
from ckpt_doctor.writer.handles import holders

DEEPEST = 32
"""Folders within folders that a unit may have."""
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)

Found = dict[str, os.stat_result]
"""Path below a folder (with `/`; empty for the folder itself) -> the status of what is there, links not followed."""


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A file, a folder or a link of a unit, as it is noted."""

    kind: Literal["file", "folder", "link"]
    mode: int
    mtime_ns: int
    size: int = 0
    sha256: str = ""
    """Of a file's bytes."""
    target: str = ""
    """Of a link."""

    @property
    def content(self) -> tuple[str, str, str]:
        """What a reader sees of it: entries with equal content are the same to every reader."""
        return self.kind, self.sha256, self.target


FolderState = Mapping[str, FolderEntry]
"""The noted content of a folder; names as in `Found`."""


def look(folder: Path) -> Found:
    """What a folder contains, each folder before its content. Raises `WriteRefused` for one that is too deep."""

    def fail(error: OSError) -> NoReturn:
        raise error

    found: Found = {"": folder.lstat()}
    for at, folders, files, fd in os.fwalk(folder, onerror=fail):
        inside = os.fspath(at)[len(os.fspath(folder)) :].strip("/")
        if inside.count("/") >= DEEPEST:
            raise WriteRefused(f"{folder} has folders that are more than {DEEPEST} deep: nothing was written")
        for name in (*sorted(folders), *sorted(files)):
            if name != names.LOCK:
                found[f"{inside}/{name}" if inside else name] = os.lstat(name, dir_fd=fd)
    return found


def size_of(found: Found) -> int:
    """Bytes of all files."""
    return sum(status.st_size for status in found.values() if stat.S_ISREG(status.st_mode))


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two looks saw the same thing, unchanged; what lies in a folder is looked at on its own."""
    if not os.path.samestat(one, other) or stat.S_IFMT(one.st_mode) != stat.S_IFMT(other.st_mode):
        return False
    return stat.S_ISDIR(one.st_mode) or (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def ensure_quiet(folder: Path, found: Found, *, at: Path | None = None) -> None:
    """Raise `WriteRefused` when something in the folder changed since it was found, or is being written.

    `at` is where the folder lies now, if its name has been taken from it. The search for open handles is the slow part,
    so what it may miss a change of is looked at last.
    """
    place = at or folder
    files = [place / name for name, status in found.items() if stat.S_ISREG(status.st_mode)]
    writers = sorted({holder.pid for holder in holders(files) if holder.writing})
    if writers:
        raise WriteRefused(f"{folder} is being written by process {', '.join(map(str, writers))}: left alone")
    ensure_unchanged(folder, found, at=at)


def ensure_unchanged(folder: Path, found: Found, *, at: Path | None = None) -> None:
    """As `ensure_quiet`, without the search for open handles."""
    try:
        now = look(at or folder)
    except FileNotFoundError:
        raise WriteRefused(f"{folder} was removed while it was being migrated") from None
    for name in {**found, **now}:
        _ensure_same(folder / name, found.get(name), now.get(name))


def ensure_file_unchanged(folder: Path, found: Found, name: str) -> None:
    """As `ensure_unchanged`, of a single file or of its absence."""
    path = folder / name
    _ensure_same(path, found.get(name), path.lstat() if os.path.lexists(path) else None)


def _ensure_same(path: Path, before: os.stat_result | None, now: os.stat_result | None) -> None:
    same = before is now if before is None or now is None else is_same(before, now)
    if not same:
        raise WriteRefused(f"{path} changed since it was read: left alone")


def noted(folder: Path, found: Found, progress: Callable[[int], None] | None = None) -> dict[str, FolderEntry]:
    """What was found, with the hash of every file. Raises `WriteRefused` for a pipe, a socket or a device in it."""
    return {name: _entry(folder / name, status, progress) for name, status in found.items()}


def entry_of(path: Path) -> FolderEntry | None:
    """The entry of what is at a path; None where there is nothing."""
    try:
        return _entry(path, path.lstat(), None)
    except FileNotFoundError:
        return None


def _entry(path: Path, status: os.stat_result, progress: Callable[[int], None] | None) -> FolderEntry:
    mode, mtime = stat.S_IMODE(status.st_mode), status.st_mtime_ns
    if stat.S_ISDIR(status.st_mode):
        return FolderEntry("folder", mode, mtime)
    if stat.S_ISLNK(status.st_mode):
        return FolderEntry("link", mode, mtime, target=os.fspath(path.readlink()))
    if not stat.S_ISREG(status.st_mode):
        raise WriteRefused(f"{path} is not a file, a folder or a link: nothing was written")
    return FolderEntry("file", mode, mtime, status.st_size, _hash(path, status, progress))


def _hash(path: Path, status: os.stat_result, progress: Callable[[int], None] | None) -> str:
    def told(piece: bytes) -> bytes:
        if progress is not None:
            progress(len(piece))
        return piece

    with opened(path, READ | NOFOLLOW) as fd:
        if not is_same(os.fstat(fd), status):
            raise WriteRefused(f"{path} changed since it was read: left alone")
        return sha256(map(told, copying.pieces(fd, 0, status.st_size)))


def shows(found: Found, entries: FolderState) -> bool:
    """Whether a folder looks as noted: the same names, sizes and times. Its bytes are not read."""
    return found.keys() == entries.keys() and all(looks_as(found[name], entry) for name, entry in entries.items())


def looks_as(status: os.stat_result, entry: FolderEntry) -> bool:
    """Whether a status is of the noted kind, and for a file of the noted size and time."""
    kind = "folder" if stat.S_ISDIR(status.st_mode) else "link" if stat.S_ISLNK(status.st_mode) else "file"
    as_noted = (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)
    return kind == entry.kind and (kind != "file" or as_noted)


def differing(one: FolderState, other: FolderState) -> list[str]:
    """The names under which one state has another content than the other, or none."""
    return [
        name
        for name in {**one, **other}
        if name not in one or name not in other or one[name].content != other[name].content
    ]
