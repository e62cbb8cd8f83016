"""Which processes have a file open, as far as this user may see (Linux `/proc`; elsewhere nothing is known)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a file open."""

    pid: int
    path: Path
    """Which of the files that were asked for."""
    writing: bool
    """Opened for writing, not only for reading."""


def holders(paths: Iterable[Path], *, mappings: bool = False) -> list[Holder]:
    """Other processes that have any of `paths` open; with `mappings` also those that only map one (`mmap=True`).

    Processes of other users are invisible without privileges, and so is another host's: an empty list is no proof.
    """
    wanted: dict[tuple[int, int], Path] = {}
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            continue
        wanted[stat.st_dev, stat.st_ino] = path
    if not wanted or not _PROC.is_dir():
        return []
    # os.scandir, not Path: there can be thousands of descriptors, and this is on the way of every write.
    with os.scandir(_PROC) as processes:
        others = [entry for entry in processes if entry.name.isdigit() and int(entry.name) != os.getpid()]
    return [holder for process in others for holder in _of_process(process.path, wanted, mappings=mappings)]


def _of_process(process: str, wanted: dict[tuple[int, int], Path], *, mappings: bool) -> list[Holder]:
    # The process may end at any moment, and most belong to others: what cannot be read is not known.
    found = []
    pid = int(process.rpartition("/")[2])
    try:
        with os.scandir(f"{process}/fd") as descriptors:
            for descriptor in descriptors:
                # Through the link, to the open file itself: names may have changed meanwhile.
                status = _stat(descriptor)
                path = wanted.get((status.st_dev, status.st_ino)) if status is not None else None
                if path is not None:
                    found.append(Holder(pid, path, _is_writing(f"{process}/fdinfo/{descriptor.name}")))
    except OSError:
        return found
    if mappings and not found:
        found = [Holder(pid, path, False) for path in _mapped(Path(process, "maps"), wanted)]
    return found


def _stat(descriptor: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return descriptor.stat()
    except OSError:
        return None


def _is_writing(info: str) -> bool:
    try:
        lines = Path(info).read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    for line in lines:
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False


def _mapped(maps: Path, wanted: dict[tuple[int, int], Path]) -> set[Path]:
    try:
        lines = maps.read_text(errors="replace").splitlines()
    except OSError:
        return set()
    # address perms offset major:minor inode path (proc(5))
    fields = [line.split(maxsplit=5) for line in lines]
    keys = {
        (os.makedev(*(int(part, 16) for part in field[3].split(":"))), int(field[4]))
        for field in fields
        if len(field) > 4
    }
    return {path for key, path in wanted.items() if key in keys}
