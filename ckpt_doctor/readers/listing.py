"""The files of a checkpoint's folder with their sizes, and what is in the place of one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

from ckpt_doctor.inert import limits, names
from ckpt_doctor.readers.detect import RECORD_FOLDERS, is_unpacked
from ckpt_doctor.readers.part_names import TRAINER_STATE, index_of, is_part_name
from ckpt_doctor.readers.parts import FOLDER, Parts
from ckpt_doctor.remote import entries_of
from ckpt_doctor.types.record import record

_OTHER_UNIT = re.compile(r"(.*[-_])?(checkpoint|step|epoch|iter(ation)?)[-_=]?\d+.*|.+\.ckpt", re.IGNORECASE)
"""Folders that are checkpoints of their own: of transformers, accelerate, Lightning, Megatron and others."""
_TAGGED = re.compile(r"global_step\d+")


@record
class Listing:
    """The files of a checkpoint's folder and of those below it that belong to it."""

    files: dict[str, int] = field(default_factory=dict)
    """Name, relative to the folder -> size."""
    links: list[str] = field(default_factory=list)
    """Names of links: to files, which are followed, and to folders, which are not."""
    entries: dict[str, list[str]] = field(default_factory=dict)
    """Each folder (empty or ending with a slash) -> the names in it, of files and folders."""
    wrong: dict[str, str] = field(default_factory=dict)
    """Names of parts that are not files -> what they are, as the end of a sentence."""
    left_out: list[str] = field(default_factory=list)
    """What was not looked into, and why, as sentences."""


def listing(folder: Path, start: str = "", tag: str | None = None) -> Listing:
    """List a checkpoint's folder, or the folder `start` (which ends with a slash) below it alone.

    `tag` names the folder of DeepSpeed's that belongs to this checkpoint, where there are several. Folders that are
    hidden, or checkpoints of their own, are not looked into; links to folders are not followed. Raises OSError where
    the first folder cannot be read.
    """
    found = Listing()
    rest = [start]
    while rest:
        prefix = rest.pop()
        try:
            with entries_of(folder / prefix) as found_there:
                entries = sorted(found_there, key=lambda entry: entry.name)
        except OSError as error:
            if prefix == start:
                raise
            found.left_out.append(f"{prefix} cannot be read ({error.strerror or error})")
            continue
        inside = {entry.name for entry in entries}
        if prefix != start and TRAINER_STATE in inside:
            continue  # a checkpoint of its own, whatever its name
        if len(found.files) + len(found.wrong) + len(entries) > limits.MAX_UNIT_FILES:
            found.left_out.append(f"{prefix or 'the folder'} has more files than are looked at")
            continue
        records = RECORD_FOLDERS if "version" in inside and is_unpacked(folder / prefix) else frozenset()
        found.entries[prefix] = [entry.name for entry in entries]
        below = list(_add(found, folder, prefix, entries, tag))
        if prefix.count("/") >= limits.MAX_UNIT_DEPTH and below:
            found.left_out.append(f"{prefix} holds folders deeper than are looked at")
            continue
        rest += [f"{prefix}{name}/" for name in reversed(below) if name not in records]
    return found


def _add(found: Listing, folder: Path, prefix: str, entries: list[os.DirEntry[str]], tag: str | None) -> Iterator[str]:
    """Take up the entries of one folder; yields the folders that are to be looked into."""
    parts = Parts(folder)
    tags = [entry.name for entry in entries if _TAGGED.fullmatch(entry.name)]
    for entry in entries:
        name = prefix + entry.name
        if names.is_ours(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            if _is_in_the_way(folder / name):
                found.wrong[name] = FOLDER
            elif _TAGGED.fullmatch(entry.name):
                if (tag in (None, entry.name) and len(tags) == 1) or entry.name == tag:
                    yield entry.name
            elif not entry.name.startswith(".") and not _OTHER_UNIT.fullmatch(entry.name):
                yield entry.name
            continue
        if entry.is_symlink():
            found.links.append(name)
        size = parts.size(name)
        if isinstance(size, int):
            found.files[name] = size
        elif _is_marked(entry.name) or (size != FOLDER and is_part_name(entry.name)):
            found.wrong[name] = size
        elif size == FOLDER:
            found.left_out.append(f"{name} is a link to a folder, which is not followed")


def _is_marked(name: str) -> bool:
    """Whether a name is never that of a folder: Lightning's checkpoints named `.ckpt` can be folders."""
    return name == TRAINER_STATE or index_of(name) is not None or name.endswith((".safetensors", ".bin"))


def _is_in_the_way(path: Path) -> bool:
    """Whether a folder has a name that is a file's, and is none that an archive was unpacked to."""
    return _is_marked(path.name) or (path.suffix in (".pt", ".pth", ".pkl") and not is_unpacked(path))
