"""The files of a checkpoint that consists of several: which are there, and what each holds."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import field
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.detect import sniff
from ckpt_doctor.readers.json_file import open_json, open_marker
from ckpt_doctor.readers.part_names import is_marker
from ckpt_doctor.readers.views import in_reach
from ckpt_doctor.types import Checkpoint, Damage, NotChecked
from ckpt_doctor.types.record import record

FOLDER = "is a folder"


@record(frozen=True)
class Findings:
    """What examining a set of files showed."""

    damage: list[Damage] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        """Take up what another set showed."""
        self.damage.extend(other.damage)
        self.not_checked.extend(other.not_checked)

    def lacks(self, items: Iterable[Damage]) -> None:
        """Add missing parts; where there are very many, a summary of the rest."""
        rest = iter(items)
        self.damage.extend(islice(rest, limits.MAX_DAMAGE))
        if more := sum(1 for _ in rest):
            self.damage.append(Damage("missing-part", f"{more:,} more files are missing"))


def missing_part(name: str, why: str, named_by: str, consequence: str = "loading raises") -> Damage:
    """The damage that a checkpoint lacks a file: which (relative to the checkpoint), why, and what calls for it."""
    message = f"{shown(name)} {why}, and {shown(named_by)} calls for it; {consequence}"
    return Damage("missing-part", message, shown(name))


def is_inside(name: object) -> bool:
    """Whether a name that a file gives can be one of a file in its own folder or below, on every system."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    drive = PureWindowsPath(name)
    return not (name.startswith("/") or drive.drive or drive.root or ".." in (*drive.parts, *PurePosixPath(name).parts))


class Parts:
    """The files below one folder, by names relative to it; each is opened once, when it is asked for.

    A name leads to nothing outside of the folder. Where the file system has a link in a file's place, the link is
    followed, as every reader does: Hugging Face's cache consists of links.
    """

    def __init__(self, folder: Path, opened: Iterable[tuple[str, Checkpoint]] = ()) -> None:
        self.folder = folder
        self.opened = dict(opened)
        self._real = os.path.realpath(folder)

    def size(self, name: str) -> int | str:
        """Bytes of a file; where there is none, why: the end of a sentence that begins with the name."""
        if not is_inside(name):
            return "lies outside of the checkpoint and was not opened"
        path = self.folder / name
        if "/" in name and not Path(os.path.realpath(path.parent)).is_relative_to(self._real):
            return "lies outside of the checkpoint and was not opened"
        try:
            status = path.stat()
        except FileNotFoundError:
            return "is a link that leads nowhere" if path.is_symlink() else "is not there"
        except OSError as error:
            return f"cannot be reached ({error.strerror or error})"
        if stat.S_ISREG(status.st_mode):
            return status.st_size
        return FOLDER if stat.S_ISDIR(status.st_mode) else "is not a regular file"

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return isinstance(self.size(name), int)

    def open(self, name: str) -> Checkpoint | None:
        """The file, read inertly; None where there is none."""
        if name not in self.opened and self.has(name):
            self.opened[name] = open_part(self.folder / name)
        return self.opened.get(name)

    def open_all(self, names: Iterable[str]) -> Iterator[tuple[str, Checkpoint]]:
        """Those of the files that are there, each opened; some of them are looked at together behind a URL."""
        there = [name for name in names if name in self.opened or self.has(name)]
        for name, _ in zip(there, in_reach([self.folder / name for name in there]), strict=True):
            if (part := self.open(name)) is not None:
                yield name, part


def open_part(path: Path) -> Checkpoint:
    """Read one file of a checkpoint: JSON and markers by their names, all others by their content."""
    if path.suffix == ".json":
        return open_json(path)
    if not is_marker(path.name):
        return open_checkpoint(path)
    marker = open_marker(path)
    return open_checkpoint(path) if marker.root is None and not marker.damage and _is_checkpoint(path) else marker


def _is_checkpoint(path: Path) -> bool:
    """Whether a file is one by its first bytes; one of these may be called `latest`."""
    try:
        return sniff(path) in ("zip", "torch-legacy", "safetensors", "tar")
    except OSError:
        return False
