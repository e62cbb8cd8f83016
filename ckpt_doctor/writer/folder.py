"""Give a unit that is a folder new parts in one step: verified, atomic, undoable."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.types import Checkpoint, Cost, Mode, Receipt, UndoReceipt, stamp_of
from ckpt_doctor.writer import copying, unit_commit
from ckpt_doctor.writer.commit import ensure_folder_writable, refusing, space_checker
from ckpt_doctor.writer.cost import RECORD_ALLOWANCE, free_for
from ckpt_doctor.writer.files import sync_folder
from ckpt_doctor.writer.folder_state import (
    FolderEntry,
    FolderState,
    Found,
    differing,
    ensure_quiet,
    entry_of,
    look,
    noted,
    size_of,
)
from ckpt_doctor.writer.generations import Store, UnitGeneration, chain, ensure_kept, save
from ckpt_doctor.writer.locking import run_lock
from ckpt_doctor.writer.part_changes import PartChange, write_part
from ckpt_doctor.writer.signals import orderly_exit
from ckpt_doctor.writer.splice import ZIPS
from ckpt_doctor.writer.staging import build, finish, set_aside
from ckpt_doctor.writer.write import Job, ensure_free, job_for
from ckpt_doctor.writer.zip_append import read_directory


def write_unit(
    checkpoint: Checkpoint,
    changes: Sequence[PartChange],
    record: Mapping[str, Any],
    *,
    mode: Mode = "replace",
    output: Path | None = None,
    verify: Callable[[Path], None],
    progress: Callable[[int], None] | None = None,
) -> Receipt:
    """Write a unit that is a folder with the `changes` that `part_changes` made of edits; all else stays as it is.

    The folder is built anew beside the unit, in `.ckpt-doctor/<name>/`: unchanged parts are linked, or copied where a
    file cannot have two names, changed ones are written. Then the two names are exchanged. The replaced parts stay in
    `.ckpt-doctor/` for `undo`. Names, modes and times are kept, those of the folder too. A changed part that is a link
    becomes a plain file (a note says so). Where names cannot be exchanged, the changed parts are renamed into the unit
    one by one, under a journal (a note says so).

    Args:
        checkpoint: the unit as read.
        changes: at least one.
        record: what was changed and why (`edits`, `tool_version`; `when` and `previous_size` are added).
        mode: `output` writes the whole unit to `output/<run folder>/<path within the run>`, which must not exist.
        output: the folder for that.
        verify: called with the path of the complete folder before it counts; raises to have it thrown away.
        progress: called with the bytes read since its last call; they come to the unit's size.

    Raises:
        WriteRefused: nothing was written, or all was taken back, as by `write`; or `in-place`.
    """
    if mode == "in-place":
        source = checkpoint.path.resolve()
        raise WriteRefused(f"{source} is a folder of several files and cannot be edited in place: leave out --in-place")
    with job_for(checkpoint, record, mode, output, verify, progress) as job, run_lock(job.target.parent):
        return _write(job, changes)


def _write(job: Job, changes: Sequence[PartChange]) -> Receipt:
    store = Store(job.target)
    ensure_free(job, unit_commit.recover_unit(job.target))
    if job.mode != "output":
        ensure_folder_writable(job.source)
    found = look(job.source)
    _ensure_as_read(job, changes, found)
    before = noted(job.source, found, job.progress)
    with unit_commit.taken_back(store):
        _begin(store, before[""].mode)
        after, notes = _stage(job, changes, store, before)
        job.verify(store.staged)
        kept = _keep(store, job.source, before, after, share=job.mode != "output")
        record = {**job.record, "previous_size": _size(before)}
        generation = UnitGeneration(record, before, after, kept, store.staged.lstat().st_ino)
        _note(store, generation)
        places = job.mode == "output"
        notes += _place(job, store, found) if places else unit_commit.take_place(store, generation, found)
        notes += unit_commit.count(store, generation)
    return Receipt(job.target, tuple(notes))


def _size(entries: FolderState) -> int:
    return sum(entry.size for entry in entries.values())


def _ensure_as_read(job: Job, changes: Sequence[PartChange], found: Found) -> None:
    """Raise `WriteRefused` unless the parts are the files that were read, and each new one has a free place."""
    parts = {job.checkpoint.name_of(part): part for part in job.checkpoint.parts}
    for name, part in parts.items():
        if name not in found or part.stamp is None or stamp_of((job.source / name).stat()) != part.stamp:
            raise WriteRefused(f"{job.source / name} changed since it was read: left alone")
    for change in changes:
        folder = found.get(change.name.rpartition("/")[0])
        if folder is None or not stat.S_ISDIR(folder.st_mode):
            raise WriteRefused(f"{job.source / change.name} cannot be written: there is no such folder")
        if change.name in found and change.name not in parts:
            raise WriteRefused(f"{job.source / change.name} exists but was not read: left alone")


def _begin(store: Store, mode: int) -> None:
    """Make the store's folders. Only users who can read the unit can read them."""
    store.numbered()  # nothing is made where the store is not ours
    store.folder.mkdir(parents=True, exist_ok=True)
    store.folder.chmod(mode & 0o777 | stat.S_IRWXU)
    store.staged.parent.mkdir(parents=True)
    for folder in (store.new, store.folder, store.folder.parent, store.unit.parent):
        sync_folder(folder)


def _stage(
    job: Job, changes: Sequence[PartChange], store: Store, before: FolderState
) -> tuple[dict[str, FolderEntry], list[str]]:
    """Build the folder with its changes; returns what it contains, and notes."""
    share = job.mode != "output"
    space = space_checker(store.folder)
    sources = {name: job.source / name for name in before}
    changed = {change.name for change in changes}
    stays = {name: entry for name, entry in before.items() if name not in changed}
    build(store.staged, stays, sources, share, space)
    after, notes = dict(before), []
    for change in changes:
        old, new = before.get(change.name), store.staged / change.name
        notes += write_part(change, sources.get(change.name), new, before[""].mtime_ns, space)
        if old is not None and old.kind == "link":
            notes.append(f"{change.name} was a link and is a plain file now")
        now = entry_of(new)
        if now is None:
            raise WriteRefused(f"{new} is gone")
        after[change.name] = now
    return after, notes + finish(store.staged, after, job.source)


def _keep(store: Store, source: Path, before: FolderState, after: FolderState, *, share: bool) -> dict[str, str]:
    """Set aside the files that the change removes; returns part -> name of the file in the store."""
    replaced = [name for name in differing(before, after) if name in before and before[name].kind == "file"]
    kept = {name: str(number) for number, name in enumerate(replaced)}
    for name, file in kept.items():
        set_aside(source / name, store.new / file, before[name], share, space_checker(store.folder))
    return kept


def _note(store: Store, generation: UnitGeneration) -> None:
    save(store.new, generation, generation.before[""].mode)
    for folder in (store.staged.parent, store.new, store.folder):
        sync_folder(folder)


def _place(job: Job, store: Store, found: Found) -> list[str]:
    ensure_quiet(job.source, found)
    if os.path.lexists(job.target):
        raise WriteRefused(f"{job.target} exists already and is not written over")
    store.staged.rename(job.target)
    return sync_folder(job.target.parent)


def undo_unit(unit: Path) -> UndoReceipt:
    """Give a unit the parts that it had before its last migration; call again for the one before.

    The hash of every file is compared first, of what is there and of what was set aside. Raises `WriteRefused` when
    there is no migration to undo, when a file is not what it was after the migration, and as `write_unit` does.
    """
    with refusing(f"{unit} could not be undone and is as it was"), orderly_exit():
        ensure_folder_writable(unit.parent)
        ensure_folder_writable(unit)
        with run_lock(unit.parent):
            if unit_commit.recover_unit(unit) == "rolled-back":
                size = size_of(look(unit))
                return UndoReceipt(size, size, notes=("the migration had been interrupted",))
            store = Store(unit)
            known = chain(store)
            if not known:
                raise WriteRefused(f"{unit} has no migration to undo")
            return _undo(store, *known[-1])


def _undo(store: Store, place: Path, last: UnitGeneration) -> UndoReceipt:
    unit = store.unit
    found = look(unit)
    present = noted(unit, found)
    changed = differing(present, last.after)
    if changed:
        raise WriteRefused(f"{unit / changed[0]} was changed since the migration of {unit.name}: it cannot be undone")
    ensure_kept(place, last)
    with unit_commit.taken_back(store):
        _begin(store, present[""].mode)
        sources = {name: unit / name for name in last.before} | {n: place / kept for n, kept in last.kept.items()}
        build(store.staged, last.before, sources, True, space_checker(store.folder))
        notes = finish(store.staged, last.before, unit)
        kept = _keep(store, unit, present, last.before, share=True)
        back = UnitGeneration({}, present, last.before, kept, store.staged.lstat().st_ino, undoes=True)
        _note(store, back)
        place.rename(store.undone)
        notes += unit_commit.take_place(store, back, found)
        notes += unit_commit.count(store, back)
    return UndoReceipt(_size(present), _size(last.before), "file", tuple(notes))


def unit_cost(
    checkpoint: Checkpoint, changes: Sequence[PartChange], mode: Mode = "replace", output: Path | None = None
) -> Cost:
    """Upper bounds of the extra disk space that `write_unit` takes where a file can have two names.

    Raises `OSError` when a part cannot be read and `WriteRefused` when its archive cannot be appended to.
    """
    source = checkpoint.path.resolve()
    extra = RECORD_ALLOWANCE + sum(_cost_of(source, change) for change in changes)
    if mode == "output":
        extra += size_of(look(source))
    return Cost(during=extra, after=extra, free=free_for(checkpoint, output))


def _cost_of(source: Path, change: PartChange) -> int:
    """Bytes on disk of a changed part; the old one stays for `undo`."""
    size = len(change.data) + sum(storage.nbytes for storage in change.adopted)
    if change.part is None:
        return size
    with (source / change.name).open("rb") as file:
        if change.part.container in ZIPS:
            size += change.part.size - read_directory(file.fileno(), change.part.size).offset + RECORD_ALLOWANCE
        return size + copying.allocated(file.fileno())
