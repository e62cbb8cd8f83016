"""Folders as trainers look at them."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from ckpt_doctor.inert.moments import PARTS, RANKS, UNNUMBERED, WHOLE, number_of
from ckpt_doctor.remote import entries_of

_OF_A_MOMENT = re.compile(r"\d|best|last|latest|final|current", re.IGNORECASE)


def names_in(folder: Path) -> list[str]:
    """The names in a folder; none of what is not a folder, or may not be listed."""
    try:
        with entries_of(folder) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []


def number_behind(prefix: str, name: str) -> int | None:
    """The number, of up to 18 digits, that follows a prefix and ends a name; None of any other name."""
    digits = name.removeprefix(prefix)
    return int(digits) if digits != name and digits.isdecimal() and len(digits) < 19 else None


def numbered_in(folder: Path, prefix: str) -> list[tuple[Path, int]]:
    """What lies in a folder under such names, each with its number."""
    found = ((name, number_behind(prefix, name)) for name in names_in(folder))
    return [(folder / name, number) for name, number in found if number is not None]


def run_around(path: Path) -> Path:
    """The folder of a checkpoint's run: the one above a folder that names a moment, where the file names none."""
    folder, above = path.parent, path.parent.parent
    if _OF_A_MOMENT.search(path.stem) or not folder.name:
        return folder
    is_last = folder.name in UNNUMBERED and any(map(WHOLE.fullmatch, names_in(above)))
    return above if is_last or WHOLE.fullmatch(folder.name) else folder


def is_in_folders(folder: Path, names: Collection[str]) -> bool:
    """Whether a folder, with these names in it, is one moment whose parts lie in folders: of ranks, of the optimizer.

    One in which further moments lie is the folder of a run.
    """
    name = (folder.resolve() if not folder.name or folder.is_symlink() else folder).name  # `.`, or a link `latest`
    if number_of(name) is None and name not in UNNUMBERED:
        return False
    if any(map(RANKS.fullmatch, names)):
        return True
    inside = [names_in(folder / name) for name in names if PARTS.fullmatch(name)]
    return any(inside) and not any(number_of(name) is not None for each in (names, *inside) for name in each)
