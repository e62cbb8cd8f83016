"""Put a built folder in the place of a unit, and recover when a run was killed on the way.

The two names are exchanged in one step. Then the old folder, which no reader finds any more, is compared with what was
read: if it differs, it gets its name back. Where names cannot be exchanged, the changed files are renamed into the unit
one by one, under a journal. In both cases the change counts from the moment in which `new` is renamed; before it, the
next run rolls everything back.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.types import Recovery
from ckpt_doctor.writer.commit import refusing
from ckpt_doctor.writer.files import exchange, sync_folder
from ckpt_doctor.writer.folder_state import (
    FolderState,
    Found,
    differing,
    ensure_file_unchanged,
    ensure_quiet,
    entry_of,
    look,
    looks_as,
)
from ckpt_doctor.writer.generations import (
    Store,
    UnitGeneration,
    delete,
    discard,
    load,
    remove_empty,
    stale,
)
from ckpt_doctor.writer.locking import run_lock
from ckpt_doctor.writer.staging import make_link, restore_times

MIXED = (
    "this file system cannot exchange two folders: the changed files were replaced one after the other, and a reader "
    "may have seen old and new ones together for a moment"
)


def take_place(store: Store, generation: UnitGeneration, found: Found) -> list[str]:
    """Put the built folder in the place of the unit that was `found`, durably; returns notes.

    Raises `WriteRefused` where the unit is no longer what was found; `settle` then takes back what was begun.
    """
    unit = store.unit
    ensure_quiet(unit, found)
    notes = []
    if _exchange(store.staged, unit):
        ensure_quiet(unit, found, at=store.staged)
        sync_folder(unit.parent)
        sync_folder(store.staged.parent)
    else:
        notes.append(MIXED)
        _replace_parts(store, generation, found)
    with suppress(OSError):
        restore_times(unit, generation.before, generation.after)
    return notes


def _exchange(one: Path, other: Path) -> bool:
    try:
        return exchange(one, other)
    except OSError as error:
        if error.errno == errno.EXDEV:  # overlayfs, for folders of a lower layer
            return False
        raise


def _replace_parts(store: Store, generation: UnitGeneration, found: Found) -> None:
    unit = store.unit
    changed = differing(generation.before, generation.after)
    store.journal.touch(0o600, exist_ok=False)
    sync_folder(store.new)
    for name in changed:
        ensure_file_unchanged(unit, found, name)  # the last look, right before its rename
        if name in generation.after:
            (store.staged / name).replace(unit / name)
        else:
            (unit / name).unlink()
    for folder in sorted({(unit / name).parent for name in changed}):
        sync_folder(folder)


def count(store: Store, generation: UnitGeneration) -> list[str]:
    """Make the change count; from here on nothing is taken back. Returns notes."""
    if generation.undoes:
        delete(store.removing)
        store.new.rename(store.removing)
    else:
        store.new.rename(store.next_number())
    notes = sync_folder(store.folder)
    with suppress(OSError, WriteRefused):  # the next run will
        _tidy(store)
        for place in list(stale(store)):
            discard(store, place)
        remove_empty(store)
    return notes


def _tidy(store: Store) -> None:
    """Remove what runs that were killed had begun to delete."""
    delete(store.removing)
    for place in store.numbered():
        if os.path.lexists(place / "staged"):
            (place / "staged").rename(store.removing)
            delete(store.removing)
        (place / "journal").unlink(missing_ok=True)


def settle(store: Store, *, failed: bool = False) -> bool:
    """Bring the unit and its store to a whole state. Returns whether a change of the unit was rolled back.

    A result that went elsewhere and has its name already stays, unless the write that made it `failed`.
    Raises `WriteRefused` where it is not clear which folder is which: both are left alone.
    """
    store.numbered()  # nothing is done where the store is not ours
    generation = load(store.new)
    rolled_back = False
    if generation is not None:
        if os.path.lexists(store.journal):
            _put_parts_back(store, generation)
            rolled_back = True
        elif os.path.lexists(store.staged):
            rolled_back = _came_out(store, generation)
            if rolled_back:
                _put_back(store, generation)
        elif not generation.undoes:
            _finish_output(store, generation, failed)
        if os.path.lexists(store.undone):
            store.undone.rename(store.next_number())
            sync_folder(store.folder)
    discard(store, store.new)
    _tidy(store)
    remove_empty(store)
    return rolled_back


@contextmanager
def taken_back(store: Store) -> Iterator[None]:
    """A context that takes back, on failure, what was begun; where that fails, too, the next run does it."""
    try:
        yield
    except BaseException:
        with suppress(OSError, WriteRefused):
            settle(store, failed=True)
        raise


def _finish_output(store: Store, generation: UnitGeneration, failed: bool) -> None:
    """A new folder that got its name: its migration is noted, or the name is taken from it again."""
    if not store.unit.is_dir() or store.unit.lstat().st_ino != generation.built:
        return  # somebody has removed it since
    if failed:
        store.unit.rename(store.staged)
    else:
        store.new.rename(store.next_number())


def _came_out(store: Store, generation: UnitGeneration) -> bool:
    """Whether the staged folder is the former unit."""
    if store.staged.lstat().st_ino == generation.built or not store.unit.is_dir():
        return False
    if store.unit.lstat().st_ino == generation.built:
        return True
    # Not told by their numbers, as on some network file systems: by what they hold.
    holds = {place: _contents_of(place, generation) for place in (store.staged, store.unit)}
    if holds[store.staged] == "after":
        return False
    if holds[store.unit] == "after":
        return True
    if holds[store.staged] == "before":  # and in its place is a newer save
        return False
    raise WriteRefused(f"{store.unit} and {store.staged}: neither is what the interrupted migration left")


def _contents_of(place: Path, generation: UnitGeneration) -> str:
    changed = differing(generation.before, generation.after)
    for state, entries in (("after", generation.after), ("before", generation.before)):
        if all(_is(place / name, entries, name) for name in changed):
            return state
    return ""


def _is(path: Path, entries: FolderState, name: str) -> bool:
    now, noted = entry_of(path), entries.get(name)
    return now is None if noted is None else now is not None and now.content == noted.content


def _put_back(store: Store, generation: UnitGeneration) -> None:
    """Give the former unit its name again, with what a trainer saved in the built folder meanwhile."""
    unit, out = store.unit, store.staged
    built = unit.lstat()
    if not exchange(out, unit):
        raise WriteRefused(f"{unit}: what had been saved here is in {out} and could not be put back")
    if not os.path.samestat(out.lstat(), built):  # one more folder, saved under the name since: it is the newest
        exchange(out, unit)
        return
    for name, status in look(out).items():
        built_so = name in generation.after and looks_as(status, generation.after[name])
        if not built_so and not stat.S_ISDIR(status.st_mode):
            (unit / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).replace(unit / name)
    sync_folder(unit.parent)


def _put_parts_back(store: Store, generation: UnitGeneration) -> None:
    """Undo the renames of parts; one that a trainer saved since is left as it is."""
    unit = store.unit
    for name in differing(generation.before, generation.after) if unit.is_dir() else []:
        path = unit / name
        if not _is(path, generation.after, name):
            continue
        entry = generation.before.get(name)
        if entry is None:
            path.unlink()
        elif entry.kind == "link":
            temporary = store.new / "link"
            temporary.unlink(missing_ok=True)
            make_link(temporary, entry)
            temporary.replace(path)
        else:
            (store.new / generation.kept[name]).replace(path)
        sync_folder(path.parent)
    if unit.is_dir():
        with suppress(OSError):
            restore_times(unit, generation.before, generation.before)


def recover_unit(unit: Path) -> Recovery | None:
    """Bring a unit back to a whole state after a run that was cut off; None when there was nothing to do."""
    store = Store(unit)
    if not os.path.lexists(store.folder.parent):
        return None
    with run_lock(unit.parent), refusing(f"{unit} could not be recovered"):
        left = any(os.path.lexists(place) for place in (store.new, store.removing))
        left = left or any(os.path.lexists(place / "staged") for place in store.numbered())
        rolled_back = settle(store)
    return ("rolled-back" if rolled_back else "cleaned") if left else None


def unit_that_came_out(unit: Path) -> Path | None:
    """What a killed run left beside a unit: the folder that was the unit, or the journal of its files."""
    store = Store(unit)
    store.numbered()
    generation = load(store.new)
    if generation is None:
        return None
    if os.path.lexists(store.journal):
        return store.journal
    return store.staged if os.path.lexists(store.staged) and _came_out(store, generation) else None
