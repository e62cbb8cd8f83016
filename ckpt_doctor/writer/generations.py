"""`.ckpt-doctor/<name>/` beside a unit: one folder per migration, with its record and the parts that it replaced.

    1/record.json     what was changed and why; what the unit held before and after, with the hash of every file
    1/0, 1/1, ...     the replaced parts as they were
    new/              a migration or an undo under way (`unit_commit`): the same, and
    new/staged/       the folder that takes the unit's place, or has come out of it
    new/undone/       the migration that an undo is taking back
    new/journal       parts are being replaced one by one, as no names can be exchanged here
    removing/         what is being deleted

Nothing of this lies in the unit itself, where a trainer would read it, and parts that no migration touched are in no
other place than the unit.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ckpt_doctor.errors import ForeignFile, WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.inert.hashing import sha256
from ckpt_doctor.writer import copying
from ckpt_doctor.writer.files import publish, sync_folder, temporary_file
from ckpt_doctor.writer.folder_state import FolderEntry, FolderState, differing, entry_of, look, shows
from ckpt_doctor.writer.splice import to_json

FORMAT = 1
_LONGEST = 64 << 20
"""Bytes of a record that is still read: some 300,000 files."""
_NUMBER = re.compile(r"[1-9]\d{0,8}")
_KEPT = re.compile(r"\d{1,9}")


@dataclass(frozen=True, slots=True)
class UnitGeneration:
    """One migration of a unit, and its way back."""

    record: Mapping[str, Any]
    before: FolderState
    after: FolderState
    kept: Mapping[str, str]
    """Part -> the file in the generation's folder that holds it as it was before."""
    built: int
    """Inode number of the folder that was built to take the unit's place."""
    undoes: bool = False
    """Whether it undoes a migration; such a generation exists only while the undo is under way."""


@dataclass(frozen=True, slots=True)
class Store:
    """The places of a unit's undo data."""

    unit: Path

    @property
    def folder(self) -> Path:
        """The folder of all undo data of the unit."""
        return names.store(self.unit)

    @property
    def new(self) -> Path:
        """The migration or undo that is under way."""
        return self.folder / "new"

    @property
    def staged(self) -> Path:
        """The folder that takes the unit's place. It has the unit's own name, because readers go by the name."""
        return self.new / "staged" / self.unit.name

    @property
    def undone(self) -> Path:
        """The migration that is being taken back."""
        return self.new / "undone"

    @property
    def journal(self) -> Path:
        """The file that exists while parts are replaced one by one."""
        return self.new / "journal"

    @property
    def removing(self) -> Path:
        """What is being deleted."""
        return self.folder / "removing"

    def numbered(self) -> list[Path]:
        """The folders of the migrations, oldest first. Raises `ForeignFile` where the store is not a folder of ours."""
        for place in (self.folder.parent, self.folder):
            if not os.path.lexists(place):
                return []
            _ensure_folder(place)
        found = [place for place in self.folder.iterdir() if _NUMBER.fullmatch(place.name)]
        for place in found:
            _ensure_folder(place)
        return sorted(found, key=lambda place: int(place.name))

    def next_number(self) -> Path:
        """Where the next migration goes."""
        return self.folder / str(1 + max((int(place.name) for place in self.numbered()), default=0))


def _ensure_folder(place: Path) -> None:
    if not stat.S_ISDIR(place.lstat().st_mode):
        raise ForeignFile(f"{place} is not a folder that ckpt-doctor made; remove it")


def record_at(place: Path) -> Path:
    """The file that describes a generation."""
    return place / "record.json"


def save(place: Path, generation: UnitGeneration, mode: int) -> None:
    """Write the record of a generation durably: the file is complete or absent."""
    fields = asdict(generation) | {"record": json.loads(to_json(generation.record))}
    body = json.dumps(fields).encode()  # ASCII, so that names of any bytes come back
    data = b'{"format": %d, "sha256": "%s", "generation": %s}' % (FORMAT, sha256([body]).encode(), body)
    if len(data) > _LONGEST:
        raise WriteRefused(f"{place} would need {len(data):,} bytes to describe so many files: nothing was written")
    temporary = place / "record.tmp"
    with temporary_file(temporary, mode & 0o666 | stat.S_IWUSR) as fd:
        copying.write_all(fd, data, 0)
        os.fsync(fd)
        publish(temporary, record_at(place))


def load(place: Path) -> UnitGeneration | None:
    """The generation in a folder of the store; None where no record is there.

    Raises `WriteRefused` for one that does not parse or that a newer version wrote: it is somebody's only way back.
    """
    path = record_at(place)
    if not os.path.lexists(place):
        return None
    _ensure_folder(place)
    try:
        data = names.read(path, _LONGEST)
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise WriteRefused(f"{path} was written by a newer version")
        fields = content["generation"]
        if content["sha256"] != sha256([json.dumps(fields).encode()]):
            raise ValueError("not what was written")
        return _sound(
            UnitGeneration(
                **{
                    **fields,
                    "before": {name: FolderEntry(**entry) for name, entry in fields["before"].items()},
                    "after": {name: FolderEntry(**entry) for name, entry in fields["after"].items()},
                }
            )
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WriteRefused(f"{path} is damaged; without it the migration cannot be undone") from error


def _sound(generation: UnitGeneration) -> UnitGeneration:
    whole = isinstance(generation.record, dict) and type(generation.built) is int and type(generation.undoes) is bool
    for entries in (generation.before, generation.after):
        whole = whole and entries.get("", FolderEntry("file", 0, 0)).kind == "folder"
        whole = whole and all(_is_sound(name, entry, entries) for name, entry in entries.items())
    for name, kept in generation.kept.items():
        whole = whole and _KEPT.fullmatch(kept) is not None
        whole = whole and name in generation.before and generation.before[name].kind == "file"
    if not whole:
        raise ValueError("a field of another type")
    return generation


def _is_sound(name: str, entry: FolderEntry, entries: FolderState) -> bool:
    """Whether an entry can be made inside the unit: its name is plain, the folder around it is a folder."""
    numbers = (entry.mode, entry.size, entry.mtime_ns)
    return (
        (not name or names.is_plain(name))
        and (not name or entries.get(name.rpartition("/")[0], entry).kind == "folder")
        and entry.kind in ("file", "folder", "link")
        and all(type(number) is int and abs(number) < 1 << 62 for number in numbers)
        and 0 <= entry.mode <= 0o7777
        and all(isinstance(text, str) for text in (entry.sha256, entry.target))
        and (entry.kind != "link" or (entry.target != "" and "\0" not in entry.target))
    )


def chain(store: Store) -> list[tuple[Path, UnitGeneration]]:
    """The migrations that led to the last one's result, oldest first, without those of an earlier unit."""
    found: list[tuple[Path, UnitGeneration]] = []
    for place in reversed(store.numbered()):
        generation = load(place)
        if generation is None or (found and differing(generation.after, found[0][1].before)):
            break
        found.insert(0, (place, generation))
    return found


def history(unit: Path) -> list[Mapping[str, Any]]:
    """The records of the migrations that led to a unit as it looks, oldest first. Its files are not read."""
    known = chain(Store(unit))
    if not known or not shows(look(unit), known[-1][1].after):
        return []
    return [generation.record for _, generation in known]


def ensure_kept(place: Path, generation: UnitGeneration) -> None:
    """Raise `WriteRefused` unless the replaced parts are there as they were set aside."""
    for name, kept in generation.kept.items():
        entry = entry_of(place / kept)
        if entry is None or entry.content != generation.before[name].content:
            raise WriteRefused(f"{name} as it was before the migration is no longer what was set aside")
    replaced = differing(generation.before, generation.after)
    files = {name for name in replaced if name in generation.before and generation.before[name].kind == "file"}
    if files - generation.kept.keys():
        raise WriteRefused("a part as it was before the migration was not set aside")


def damage_of(unit: Path) -> str:
    """Why undo could not restore everything; empty where it can."""
    try:
        for place, generation in chain(Store(unit)):
            ensure_kept(place, generation)
    except WriteRefused as refusal:
        return str(refusal)
    return ""


def discard(store: Store, place: Path) -> None:
    """Remove a folder of the store by way of `removing`, so that a half removed one is never read as complete."""
    delete(store.removing)
    if os.path.lexists(place):
        place.rename(store.removing)
        delete(store.removing)


def delete(folder: Path) -> None:
    """Remove a folder and all in it; read-only folders in it, too. Links are removed, not followed."""
    if not os.path.lexists(folder):
        return
    _ensure_folder(folder)
    for _, folders, _, fd in os.fwalk(folder):
        for name in folders:
            with suppress(OSError):
                status = os.lstat(name, dir_fd=fd)
                if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
                    os.chmod(name, stat.S_IRWXU, dir_fd=fd)
    shutil.rmtree(folder)


def remove_empty(store: Store) -> None:
    """Remove the store, and the folder of all stores, where nothing is in them."""
    for folder in (store.folder, store.folder.parent):
        with suppress(OSError):
            folder.rmdir()
    sync_folder(store.unit.parent)


def forget(unit: Path) -> None:
    """Remove the undo data of a unit that no longer exists."""
    store = Store(unit)
    with suppress(OSError, WriteRefused):
        store.numbered()  # nothing is removed where the store is not ours
        delete(store.folder)
        store.folder.parent.rmdir()


def stale(store: Store) -> Iterator[Path]:
    """The folders of migrations of an earlier unit, which a save or another program has since replaced."""
    used = {place for place, _ in chain(store)}
    return (place for place in store.numbered() if place not in used)
