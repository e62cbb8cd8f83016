"""Folders as trainers look at them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from itertools import chain
from pathlib import Path

from ckpt_doctor.inert.moments import OF_A_RUN, PADDED, RANKS, UNNUMBERED, WHOLE, moment_of, number_of, role_of
from ckpt_doctor.readers.part_names import beside, index_of, is_marker, is_moment, is_part_name
from ckpt_doctor.remote import RemotePath, entries_of

_OF_A_MOMENT = re.compile(r"\d|best|last|latest|final|current", re.IGNORECASE)

_WHOLE = re.compile(r"(checkpoint|ckpt)\b", re.IGNORECASE)
"""A file with all parts of a moment."""
_MOST_LOOKED_INTO = 8


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
    if folder.name.isdecimal():
        return above if is_moment(folder) else folder
    is_last = folder.name in UNNUMBERED and any(map(WHOLE.fullmatch, names_in(above)))
    return above if is_last or WHOLE.fullmatch(folder.name) else folder


def is_in_folders(folder: Path, names: Collection[str]) -> bool:
    """Whether a folder, with these names in it, is one moment of several parts: files, and folders of files.

    One in which further moments lie, or files that are whole ones, is the folder of a run. Of a moment that lacks all
    parts but one, those beside it show what it is.
    """
    folder = folder.resolve() if not folder.name or folder.is_symlink() else folder  # `.`, or a link `latest`
    if folder.name not in UNNUMBERED and not is_moment(folder):
        return False
    if any(map(RANKS.fullmatch, names)):
        return True
    files, folders = _parts(folder, names)
    if folders or len(files) != 1 or isinstance(folder, RemotePath):
        return bool(folders) or len(files) > 1
    others = [_parts(other, names_in(other)) for other in beside(folder)]
    return len(others) > 1 and all(below or len(there) > 1 for there, below in others)


def _parts(folder: Path, names: Collection[str]) -> tuple[set[str], set[str]]:
    """The files of a moment in a folder, those of a set once, and the folders with more; none where moments lie there.

    A folder in which only folders lie is looked into once more."""
    there = {name: names_in(folder / name) for name in names if not name.startswith(".") and "." not in name[-5:]}
    for name, inside in list(there.items()):
        if inside and not any(map(is_part_name, inside)):
            there |= {f"{name}/{other}": names_in(folder / name / other) for other in inside[:_MOST_LOOKED_INTO]}
    if any(_is_of_a_run(name) for name in chain(names, *there.values())):
        return set(), set()
    is_whole = folder.name.isdecimal() or WHOLE.fullmatch(folder.name) is not None
    each = {name: _files(inside) for name, inside in {"": names, **there}.items()}
    if any(_is_series(files, is_whole) for files in each.values()):
        return set(), set()
    return each.pop(""), {name for name, files in each.items() if files}


def _files(names: Collection[str]) -> set[str]:
    """The parts among names, those of a set once."""
    files = (name for name in names if is_part_name(name) and not is_marker(name) and not index_of(name))
    return {re.sub(r"-\d+-of-\d+|^.*(?=\.distcp$)", "", name) for name in files}


def _is_series(files: Collection[str], is_whole: bool) -> bool:
    """Whether files differ in numbers that count moments. In a folder that is named by its moment alone those from 0
    or 1 on are ranks and layers."""
    alike: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for name in files:
        alike[role_of(name)].append(moment_of(name))
    columns = (sorted(set(column)) for each in alike.values() if len(each) > 1 for column in zip(*each, strict=False))
    varying = (column for column in columns if len(column) > 1)
    return any(not is_whole or column[-1] - column[0] >= len(column) or column[0] > 1 for column in varying)


def _is_of_a_run(name: str) -> bool:
    """Whether a name is that of a moment, or of a file that is a whole one."""
    if name.isdecimal():
        return PADDED.fullmatch(name) is not None
    is_whole = OF_A_RUN.match(name) is not None or _WHOLE.match(name) is not None
    return number_of(name) is not None or (is_whole and is_part_name(name))
