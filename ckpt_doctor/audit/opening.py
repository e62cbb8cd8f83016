"""A path -> its checkpoint, read inertly, with what a migration left in it or beside it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ckpt_doctor import reports
from ckpt_doctor.errors import ForeignFile, WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.part_names import is_count, is_part_of_several, leads_nowhere
from ckpt_doctor.readers.views import size_of
from ckpt_doctor.remote import RemotePath, as_path
from ckpt_doctor.trainers import Trainer, unit_trainer
from ckpt_doctor.types import Checkpoint, Damage, NotChecked, stamp_of
from ckpt_doctor.validators.files import BLOCKED

Progress = Callable[[Path, int], None]
"""Called with a file and the number of its bytes read since the last call."""
_NOTHING: Mapping[Path, Checkpoint] = {}


def open_file(path: Path | str) -> Checkpoint:
    """Read a checkpoint inertly: a file, or a folder or a set of files as one; nothing in it is executed or imported.

    No tensor bytes are read. What a migration left beside it is read as well: its record, a journal of one cut off.

    Args:
        path: a file in any format of torch, or of safetensors; a folder; the index of a sharded model.

    Returns:
        The checkpoint: its structure as plain values with `TensorRef`s in the place of tensors. What is wrong with it
        is in `damage`, and so is that the system refuses to read it (`unreadable-file`): nothing is raised.

    Example:
        >>> open_checkpoint("model.pt").get("optimizer", "param_groups", 0, "lr")
        0.0004

    Source:
        torch/serialization.py and caffe2/serialize/inline_container.h for archives; CPython's Lib/pickletools.py for
        pickles; the safetensors format description for its headers.
    """
    return replace(read_file(as_path(path)), display=reports.opened)


def read_file(path: Path, read: Mapping[Path, Checkpoint] = _NOTHING) -> Checkpoint:
    """The same, for the stages, which show it otherwise. What was `read` before is read again where it has changed."""
    far = isinstance(path, RemotePath)  # nothing is migrated where nothing can be written
    is_file = not far and _is_file(path)
    if is_part_of_several(path.name) or (not is_file and (leads_nowhere(path) or path.is_dir())):
        from ckpt_doctor.readers.folders import open_unit  # most checkpoints are files

        owner = _owner_of(path)
        known = owner is not None and bool(owner.name)
        is_compared = not known or (owner is not None and owner.by_shape)
        unit = open_unit(path, owner.reads_part if owner and known else is_count, is_compared)
        if unit.container == "folder":
            kept = not far and path.is_dir() and os.path.lexists(names.store(Path(os.path.realpath(path))))
            return _half_exchanged(_with_undo_file(unit)) if kept else unit
    checkpoint = _as_read(path, read) or open_checkpoint(path)
    if far:
        return checkpoint
    undo, journal, new = names.left_beside(path if is_file else Path(os.path.realpath(path)))
    checkpoint = _with_undo_file(checkpoint) if undo else checkpoint
    checkpoint = _with_journal(checkpoint) if journal else checkpoint
    return _half_exchanged(checkpoint) if new else checkpoint


def _is_file(path: Path) -> bool:
    """Whether a path is a file's own, and no link's."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _as_read(path: Path, read: Mapping[Path, Checkpoint]) -> Checkpoint | None:
    """A file as it was read before; without the damage that lies beside it, of which its file tells nothing."""
    checkpoint = read.get(path)
    if checkpoint is None or checkpoint.stamp is None or checkpoint.parts or checkpoint.deep is not None:
        return None
    try:
        stamp = stamp_of(path.stat())
    except OSError:
        return None
    beside = any(damage.kind in ("interrupted-migration", BLOCKED) for damage in checkpoint.damage)
    return None if beside or stamp != checkpoint.stamp else checkpoint


def unreadable(path: Path, why: str) -> Checkpoint:
    """A checkpoint of which nothing is known but why it could not be read."""
    return Checkpoint(path, size_of(path), "unknown", "other", None, damage=(Damage("unreadable-file", why),))


def _owner_of(folder: Path) -> Trainer | None:
    try:
        return unit_trainer(folder, [entry.name for entry in folder.iterdir()]) if folder.is_dir() else None
    except OSError:  # which opening the folder meets, too
        return None


def _half_exchanged(checkpoint: Checkpoint) -> Checkpoint:
    from ckpt_doctor.writer import came_out  # needed here only

    before = came_out(checkpoint.path)
    if before is None:
        return checkpoint
    message = f"a migration was cut off before its last look; what had been saved here is in {before.name}"
    return _damaged(checkpoint, "interrupted-migration", message)


def _with_journal(checkpoint: Checkpoint) -> Checkpoint:
    from ckpt_doctor.writer.in_place import interrupted  # the writer is needed for this only

    try:
        journal = interrupted(checkpoint.path)
    except ForeignFile as error:
        return _damaged(checkpoint, BLOCKED, str(error))
    except WriteRefused as error:
        return _damaged(checkpoint, "interrupted-migration", str(error))
    if journal is None:
        return checkpoint
    message = f"a migration was cut off; the first {journal.previous_size:,} bytes are whole"
    return _damaged(checkpoint, "interrupted-migration", message)


def _with_undo_file(checkpoint: Checkpoint) -> Checkpoint:
    """With the migrations of a stream or tar file; none where the undo file belongs to an earlier file of that name."""
    from ckpt_doctor.readers.torch_zip import parse_migration
    from ckpt_doctor.writer.sidecar import history  # needed for migrated files only

    try:
        records = [parse_migration(dict(record)) for record in history(checkpoint.path)]
    except OSError:  # of the file itself
        return checkpoint
    except WriteRefused as error:
        return _damaged(checkpoint, BLOCKED, str(error))
    told = tuple(record for record in records if record is not None)
    return replace(checkpoint, migrations=checkpoint.migrations or told)


def _damaged(checkpoint: Checkpoint, kind: str, message: str) -> Checkpoint:
    return replace(checkpoint, damage=(Damage(kind, message), *checkpoint.damage))


def deepened(checkpoint: Checkpoint, progress: Progress | None) -> Checkpoint:
    """The checkpoint with the result of reading every byte, those that only undo needs included."""
    from ckpt_doctor.readers.deep import deep_check  # numpy is needed for this only

    path = checkpoint.path
    checkpoint = deep_check(checkpoint, (lambda count: progress(path, count)) if progress else None)
    deep = checkpoint.deep
    if not checkpoint.migrations or deep is None:
        return checkpoint
    from ckpt_doctor.writer import undo_damage  # needed for migrated files only

    try:
        message, hashed = undo_damage(path)
    except OSError:  # which the deep check has met, too
        return checkpoint
    damage = (Damage("corrupt-undo-data", message),) if message else ()
    unhashed = NotChecked("what undo restores", "an older version migrated the file and kept no hash", "undo it")
    unsure = () if hashed or message else (unhashed,)
    deep = replace(deep, damage=(*deep.damage, *damage), not_checked=(*deep.not_checked, *unsure))
    return replace(checkpoint, deep=deep)
