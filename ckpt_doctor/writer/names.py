"""Names of the files that stand beside a checkpoint while, or because, it was migrated.

Each is built from the checkpoint's whole name, so `checkpoint` and `checkpoint.pt` never share one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ckpt_doctor.writer.hashing import sha256

NAME_MAX = 255
"""Bytes in one file name (Linux `NAME_MAX`, the same on XFS, Btrfs, APFS and ext4)."""

_TAGS = r"\.ckpt-doctor(-journal|-undo|-undo-\d+\.tmp|-\d+\.tmp|-removing)$"
_OURS = re.compile(_TAGS)


def temporary(path: Path) -> Path:
    """`.<name>.ckpt-doctor-<pid>.tmp`: the copy that becomes the new file."""
    return _beside(path, f".ckpt-doctor-{os.getpid()}.tmp")


def journal(path: Path) -> Path:
    """`.<name>.ckpt-doctor-journal`: exists only while a file is edited in place."""
    return _beside(path, ".ckpt-doctor-journal")


def undo_file(path: Path) -> Path:
    """`<name>.ckpt-doctor-undo`: what undo needs where the checkpoint cannot hold it itself. Visible, as it is kept."""
    return _beside(path, ".ckpt-doctor-undo", hidden=False)


def undo_temporary(path: Path) -> Path:
    """`.<name>.ckpt-doctor-undo-<pid>.tmp`."""
    return _beside(path, f".ckpt-doctor-undo-{os.getpid()}.tmp")


def removing(folder: Path) -> Path:
    """`.<name>.ckpt-doctor-removing`: a folder that is being deleted."""
    return _beside(folder, ".ckpt-doctor-removing")


def is_ours(name: str) -> bool:
    """Whether a file or folder name is one of the above: never a checkpoint of the run."""
    return name == ".ckpt-doctor.lock" or _OURS.search(name) is not None


def leftovers(path: Path) -> list[Path]:
    """Temporary files that killed runs left beside `path`; those of other checkpoints not among them."""
    patterns = [
        re.compile(re.escape(_beside(path, tag).name) + r"-\d+\.tmp") for tag in (".ckpt-doctor", ".ckpt-doctor-undo")
    ]
    try:
        beside = sorted(path.parent.iterdir())
    except OSError:
        return []
    return [other for other in beside if any(pattern.fullmatch(other.name) for pattern in patterns)]


def _beside(path: Path, tag: str, *, hidden: bool = True) -> Path:
    stem = ("." if hidden else "") + path.name
    # Room for the longest tag, so that a shortened name does not depend on which tag it gets.
    if len(os.fsencode(stem)) > NAME_MAX - 40:
        stem = ("." if hidden else "") + sha256([os.fsencode(path.name)])[:32]
    return path.parent / (stem + tag)
