"""Paths -> checkpoints, files by content, folders by what lies in them. Suffixes decide only what is not missed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor.errors import UsageError, absent, ensure_supported
from ckpt_doctor.inert import names
from ckpt_doctor.readers.detect import RECORD_FOLDERS, is_unpacked, sniff
from ckpt_doctor.readers.part_names import OTHER_SUFFIXES, PART_SUFFIXES, is_marker, is_other_binary
from ckpt_doctor.remote import RemotePath, as_path, told_apart, walk
from ckpt_doctor.trainers import is_unit
from ckpt_doctor.types import Damage

if TYPE_CHECKING:
    from ckpt_doctor.readers.sets import FileSet

CHECKPOINT_SUFFIXES = PART_SUFFIXES | {".bin", ".tar", ".model"}
TEMPORARY_SUFFIXES = frozenset({".tmp", ".part", ".partial", ".crdownload", ".download", ".incomplete"})
SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages"})


def existing(paths: Path | str | Iterable[Path | str]) -> list[Path]:
    """The paths (or the one path), each once; UsageError names the first that does not exist, or is a URL."""
    ensure_supported()
    found = []
    given = [paths] if isinstance(paths, (str, Path)) else paths
    urls: dict[str, str] = {}
    for path in dict.fromkeys(told_apart(as_path(one), urls) for one in given):
        if not isinstance(path, RemotePath) and not os.path.lexists(path):
            raise absent(path)
        found.append(path)
    _ask(found)
    return found


def _ask(paths: Iterable[Path]) -> None:
    """Ask for the URLs among paths; UsageError names the first at which nothing is."""
    if urls := [path for path in paths if isinstance(path, RemotePath)]:
        from ckpt_doctor.remote.store import named  # fsspec is needed from here on

        named(urls)


def existing_logs(logs: Iterable[Path | str]) -> list[Path]:
    """The logs; UsageError names the first that is no plain file."""
    found = [as_path(log) for log in logs]
    _ask(found)
    for log in found:
        if not log.is_file():
            raise UsageError(f"the log {log} {'is not a plain file' if log.exists() else 'does not exist'}")
    return found


def checkpoint_files(path: Path) -> Iterator[Path]:
    """The checkpoints at a path: the file itself, or all below a folder, in no particular order.

    A folder that is one checkpoint is named as a whole, a set of files by its index. Of the other files, one that is no
    checkpoint by content is named only where a checkpoint belongs: `checkpoint`, or with a suffix that
    checkpoints have. Hidden files and folders, and what a migration keeps beside a checkpoint, are passed over. Links
    to folders are followed, each folder once, but for those that lead to a folder around this one. A folder that cannot
    be read is named itself.
    """
    if not path.is_dir():
        yield path
        return
    kind = type(path)
    unreadable: list[OSError] = []
    seen: set[str] = set()
    top = Path(os.path.realpath(path))
    rest = [path]
    while rest:  # links come last, so that what they lead to goes by its own name where it has one here
        for folder, folders, files in walk(rest.pop(0), unreadable.append):
            real = os.path.realpath(folder)
            folders[:] = [] if real in seen else [n for n in folders if n[:1] != "." and n not in SKIPPED_FOLDERS]
            links = [link for name in folders if (link := kind(folder, name)).is_symlink()]
            rest += [link for link in links if not top.is_relative_to(os.path.realpath(link))]
            sets = [] if real in seen else _sets(kind(folder), (*files, *folders))
            yield from (one.path for one in sets)
            taken = {name for one in sets for name in one.files}
            files[:] = [name for name in files if name not in taken]
            if any(one.path == kind(folder) for one in sets):
                seen.add(real)
                folders[:] = []
                continue
            if "version" in files and is_unpacked(kind(folder)):  # whose records are one checkpoint
                files[:] = ["data.pkl"]
                folders[:] = [name for name in folders if name not in RECORD_FOLDERS]
            sharded = any(name.endswith(".distcp") for name in files)
            for name in files if real not in seen else ():
                file = kind(folder, name)
                # A distributed checkpoint's description is hidden, and unpickled before anything else of it.
                hidden = name.startswith(".") and not (sharded and name == ".metadata")
                if not hidden and not names.is_ours(name) and not is_marker(name) and _belongs(file, sharded):
                    yield file
            seen.add(real)
    yield from (kind(error.filename) for error in unreadable if isinstance(error, PermissionError))


def _sets(folder: Path, names: Sequence[str]) -> list[FileSet]:
    """The checkpoints of several files in a folder; the folder itself where a known trainer calls it one."""
    from ckpt_doctor.readers.sets import FileSet, set_of  # a file that is named itself needs none

    if is_unit(folder, names):
        return [FileSet("folder", folder, "", ())]
    return set_of(folder, names)


def _belongs(file: Path, sharded: bool) -> bool:
    suffixes = {suffix.lower() for suffix in file.suffixes[-2:]}
    named = suffixes & CHECKPOINT_SUFFIXES and not is_other_binary(file.name)
    if file.name == "checkpoint" or named or _is_temporary(file):
        return True
    if sharded and file.name == ".metadata":
        return True
    if file.suffix.lower() in OTHER_SUFFIXES and isinstance(file, RemotePath):  # each look is a request
        return False
    try:
        kind = sniff(file)
    except OSError:
        return False
    # Every office document is a zip file, too: without a checkpoint's name it must look like one inside.
    if kind == "zip":
        return _first_entry_is_a_program(file)
    return (kind != "tar" or file.suffix == ".nemo") and kind != "pickle" and not isinstance(kind, Damage)


def _is_temporary(file: Path) -> bool:
    """A temporary file of a checkpoint's writer: `last.pt.tmp`, `checkpoint.tmp`."""
    return file.suffix.lower() in TEMPORARY_SUFFIXES and (
        file.stem.startswith("checkpoint") or Path(file.stem).suffix.lower() in CHECKPOINT_SUFFIXES
    )


def _first_entry_is_a_program(file: Path) -> bool:
    """Whether a zip file begins as torch writes it: with `<prefix>/data.pkl`, or a TorchScript archive's records; or as
    Stable-Baselines3 does."""
    try:
        with file.open("rb") as stream:
            head = stream.read(512)
    except OSError:
        return False
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if name == b"data" and b'"policy_class"' in head:  # Stable-Baselines3
        return True
    return name.endswith((b"/data.pkl", b"/constants.pkl", b"/version", b"/.format_version", b"/byteorder")) or (
        b"/data/" in name or b"/code/" in name
    )
