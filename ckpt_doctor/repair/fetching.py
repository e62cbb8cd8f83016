"""Copies of checkpoints behind URLs, made where their repaired form goes: nothing is written to a URL."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.remote import RemotePath
from ckpt_doctor.repair.plans import FilePlan
from ckpt_doctor.types import Checkpoint, Edit, mapping_of, stamp_of

Progress = Callable[[int], None]
_PIECE = 8 << 20


@contextmanager
def room_beside(output: Path) -> Iterator[Path]:
    """A folder for copies on the disk of the output, gone afterwards."""
    output.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".ckpt-doctor-copy-", dir=output))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fetch(path: RemotePath, target: Path, progress: Progress | None = None) -> Path:
    """Copy an object to a file. Raises OSError where it cannot be read whole, or was replaced meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as source, target.open("xb") as file:
        while piece := source.read(_PIECE):
            file.write(piece)
            if progress is not None:
                progress(len(piece))
    return target


@contextmanager
def on_this_machine(
    file: FilePlan, output: Path | None, progress: Progress | None
) -> Iterator[tuple[Checkpoint, tuple[Edit, ...]]]:
    """The checkpoint that a plan is for, and its edits; copies in the place of what lies behind URLs.

    Raises:
        WriteRefused: a copy cannot be made, or shows what its URL did not.
    """
    path = file.checkpoint.path
    if output is None or not isinstance(path, RemotePath):
        yield file.checkpoint, file.edits
        return
    with room_beside(output) as room:
        donors: dict[int, Checkpoint] = {}

        def with_copy(edit: Edit) -> Edit:
            if edit.donor is None or not isinstance(edit.donor.path, RemotePath):
                return edit
            if id(edit.donor) not in donors:
                donors[id(edit.donor)] = _copied(edit.donor, room / f"donor-{len(donors)}", progress)
            return replace(edit, donor=donors[id(edit.donor)])

        try:
            checkpoint = _copied(file.checkpoint, _place(path, file.case.run.path, room), progress)
            edits = tuple(map(with_copy, file.edits))
        except OSError as error:
            raise WriteRefused(f"{path} could not be copied: {error.strerror or error}") from error
        yield checkpoint, edits


def _place(path: Path, run: Path, room: Path) -> Path:
    """Where the copy goes: as it lies in its run, since the output is named after that."""
    return room / run.name / (path.relative_to(run) if path.is_relative_to(run) else path.name)


def _copied(checkpoint: Checkpoint, place: Path, progress: Progress | None) -> Checkpoint:
    """The checkpoint, as it was read, on its copy; WriteRefused where the copy holds something else."""
    if not checkpoint.parts:
        return _as_read(checkpoint, fetch(_url(checkpoint.path), place, progress))
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    inside = place if folder is checkpoint.path else place.parent
    names = mapping_of(checkpoint.metadata.get("files")) or {}
    for name in names:
        fetch(_url(folder / str(name)), inside / str(name), progress)
    parts = tuple(_as_read(part, inside / checkpoint.name_of(part)) for part in checkpoint.parts)
    return replace(checkpoint, path=place, parts=parts)


def _url(path: Path) -> RemotePath:
    assert isinstance(path, RemotePath)
    return path


def _as_read(checkpoint: Checkpoint, copy: Path) -> Checkpoint:
    if checkpoint.container in ("json", "text"):
        return replace(checkpoint, path=copy, stamp=stamp_of(copy.stat()))
    fresh = open_checkpoint(copy)
    same = (fresh.size, fresh.program) == (checkpoint.size, checkpoint.program)
    if not same or len(fresh.damage) > len(checkpoint.damage):
        told = fresh.damage[-1].message if fresh.damage else "its content is another one"
        raise WriteRefused(f"the copy of {checkpoint.path} shows what the URL did not: {told}")
    return replace(checkpoint, path=copy, stamp=fresh.stamp)
