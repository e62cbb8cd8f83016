"""A folder in which a command can run as if it were the user's own, and nothing of the user's is written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

LINKED_WHOLE = (".git", ".hg", ".svn", "node_modules", "__pycache__")
"""Folders that no training writes to."""
MOST = 20_000
"""Entries that are linked one by one; a folder beyond is linked whole."""


def mirror(folder: Path, target: Path) -> None:
    """Make `target` a folder of the same folders, with a link to each file: what is new in it is not in `folder`.

    Virtual environments, version control and what is too much are linked whole.
    """
    target.mkdir(parents=True)
    left = MOST
    todo = [(folder, target)]
    while todo:
        source, copy = todo.pop()
        for entry in os.scandir(source):
            left -= 1
            below = copy / entry.name
            if entry.is_dir(follow_symlinks=False) and left > 0 and not _is_whole(Path(entry.path), target):
                below.mkdir()
                todo.append((Path(entry.path), below))
            elif Path(entry.path) != target:
                below.symlink_to(Path(entry.path).absolute())


def _is_whole(folder: Path, target: Path) -> bool:
    """Whether a folder is linked as one; the scratch folder itself is never gone into."""
    return folder.name in LINKED_WHOLE or (folder / "pyvenv.cfg").exists() or target.is_relative_to(folder)


def copied(source: Path, target: Path) -> None:
    """Copy a mirrored folder as it is at this moment: files that the command wrote, and links as links.

    A file that vanishes meanwhile was not there.
    """
    target.mkdir()
    for folder, _, files in os.walk(source):
        below = target / Path(folder).relative_to(source)
        below.mkdir(exist_ok=True)
        for entry in os.scandir(folder):
            try:
                if entry.is_symlink():
                    (below / entry.name).symlink_to(Path(entry.path).readlink())
                elif entry.name in files and entry.is_file():
                    shutil.copy2(entry.path, below / entry.name)
            except FileNotFoundError:
                continue
