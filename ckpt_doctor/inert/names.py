"""Names of the files that stand beside a checkpoint while, or because, it was migrated.

Each is built from the checkpoint's whole name, so `last` and `last.pt` never share one.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

from ckpt_doctor.errors import ForeignFile
from ckpt_doctor.inert.hashing import sha256

NAME_MAX = 255
"""Bytes in one file name (Linux `NAME_MAX`, the same on XFS, Btrfs, APFS and ext4)."""

LOCK = ".ckpt-doctor.lock"
STORE = ".ckpt-doctor"
_READ = ".ckpt-doctor-read.json"
_JOURNAL, _NEW, _UNDO = ".ckpt-doctor-journal", ".ckpt-doctor-new", ".ckpt-doctor-undo"
_OURS = r"\.ckpt-doctor(-journal|-new|-undo|-undo-\d+\.tmp|-\d+\.tmp|-leaving|-removing)$"


def temporary(path: Path) -> Path:
    """`.<name>.ckpt-doctor-<pid>.tmp`: the copy that becomes the new file."""
    return _beside(path, f".ckpt-doctor-{os.getpid()}.tmp")


def journal(path: Path) -> Path:
    """`.<name>.ckpt-doctor-journal`: exists only while a file is edited in place."""
    return _beside(path, _JOURNAL)


def new(path: Path) -> Path:
    """`.<name>.ckpt-doctor-new`: the second name of the copy, only while it takes the file's place."""
    return _beside(path, _NEW)


def undo_file(path: Path) -> Path:
    """`<name>.ckpt-doctor-undo`: what undo needs where the checkpoint cannot hold it itself. Visible, as it is kept."""
    return _beside(path, _UNDO, hidden=False)


def left_beside(path: Path) -> tuple[bool, bool, bool]:
    """Whether there is an undo file, a journal, a second name of the copy. Every file is asked: as text it is quick."""
    folder = str(path).removesuffix(path.name)
    seen, hidden = (folder + _stem(path.name, hidden) for hidden in (False, True))
    return os.path.lexists(seen + _UNDO), os.path.lexists(hidden + _JOURNAL), os.path.lexists(hidden + _NEW)


def undo_temporary(path: Path) -> Path:
    """`.<name>.ckpt-doctor-undo-<pid>.tmp`."""
    return _beside(path, f".ckpt-doctor-undo-{os.getpid()}.tmp")


def store(unit: Path) -> Path:
    """`.ckpt-doctor/<name>`: what undo needs of a checkpoint that is a folder, and its copy while that is written."""
    return unit.parent / STORE / unit.name


def remembered(run: Path) -> Path:
    """`.ckpt-doctor-read.json` in a run folder: which of its checkpoints were read to the last byte."""
    return run / _READ


def leaving(folder: Path) -> Path:
    """`.<name>.ckpt-doctor-leaving`: a folder on which a last look is taken before it is deleted."""
    return _beside(folder, ".ckpt-doctor-leaving")


def removing(folder: Path) -> Path:
    """`.<name>.ckpt-doctor-removing`: a folder that is being deleted."""
    return _beside(folder, ".ckpt-doctor-removing")


def is_ours(name: str) -> bool:
    """Whether a file or folder name is one of the above: never a checkpoint of the run."""
    return name in (LOCK, STORE, _READ) or re.search(_OURS, name) is not None


def is_plain(name: str) -> bool:
    """Whether a name with `/` is that of a place below a folder, without steps up, around or on the spot."""
    return "\0" not in name and not {"", ".", ".."} & set(name.split("/"))


def read(path: Path, limit: int) -> bytes:
    """The bytes of a file that has one of these names.

    Raises `ForeignFile` for what is never made here, without following or waiting for it (a link, a pipe, a device, a
    folder, more than `limit` bytes) and for what cannot be read; `FileNotFoundError` where there is nothing.
    """
    foreign = ForeignFile(f"{path} is not a file that ckpt-doctor wrote; remove it")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise foreign from error
        raise ForeignFile(f"{path} cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            raise foreign
        with open(fd, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(fd)


def leftovers(path: Path, *tags: str) -> list[Path]:
    """Temporary files that killed runs left beside `path`; those of other checkpoints not among them."""
    tags = tags or (".ckpt-doctor", ".ckpt-doctor-undo")
    patterns = [re.compile(re.escape(_beside(path, tag).name) + r"-\d+\.tmp") for tag in tags]
    try:
        beside = sorted(path.parent.iterdir())
    except OSError:
        return []
    return [other for other in beside if any(pattern.fullmatch(other.name) for pattern in patterns)]


def _beside(path: Path, tag: str, *, hidden: bool = True) -> Path:
    return path.with_name(_stem(path.name, hidden) + tag)


def _stem(name: str, hidden: bool) -> str:
    stem = ("." if hidden else "") + name
    # Room for the longest tag, so that a shortened name does not depend on which tag it gets.
    if len(os.fsencode(stem)) > NAME_MAX - 40:
        stem = ("." if hidden else "") + sha256([os.fsencode(name)])[:32]
    return stem
