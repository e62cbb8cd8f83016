"""Reads pickles that no `torch.save` wrapped: `pickle.dump(state_dict, file)`, any protocol; and those in other files.

Tensors in them bring their storage along as a whole legacy stream in bytes (torch/storage.py, `_load_from_bytes`).
"""

from __future__ import annotations

import os
import shlex
import stat
from itertools import count
from pathlib import Path

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import Reading, shown
from ckpt_doctor.readers.assemble import Content, checkpoint
from ckpt_doctor.readers.detect import is_unpacked
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.neighbours import object_pickle
from ckpt_doctor.readers.payloads import MAGIC_NUMBER, file_programs
from ckpt_doctor.readers.programs import BEHIND, read_program
from ckpt_doctor.readers.torch_legacy import open_legacy
from ckpt_doctor.remote import RemoteError
from ckpt_doctor.types import Checkpoint, Damage, Program

_MOST_FAR = 64 << 20
"""Bytes of a remote pickle that is read."""


def open_pickle(view: FileView) -> Checkpoint:
    """Read a file that begins like a pickle; never raises for its content."""
    content = Content("pickle")
    if view.size > limits.MAX_PROGRAM_BYTES:
        message = f"a pickle of {view.size:,} bytes; only the first {limits.MAX_PROGRAM_BYTES:,} are read"
        content.damage.append(Damage("limit-exceeded", message, found=view.size))
    if view.far and view.size > _MOST_FAR:
        raise RemoteError("a plain pickle can only be read whole: download a copy", view.path)
    data = view.read_at(0, _as_far_as_it_goes(view))
    programs = file_programs()
    reading = read_program(programs, data, 0, None, "")
    if reading.root == MAGIC_NUMBER and type(reading.root) is int:
        return open_legacy(view)  # something else stands before the number, and is run before it
    # Of bare pickles several may well stand in a row (`pickle.dump` twice); what they name is judged all the same
    programs.damage = [damage for damage in programs.damage if damage.message != BEHIND]
    content.add(reading, programs)
    if reading.finished:
        content.program = Program(0, reading.end, "")
    elif reading.ran_out:
        content.damage = [damage for damage in content.damage if damage.kind != "malformed-pickle"]
        message = "the pickle ends before its STOP: the file is cut off, and nothing of it can be loaded"
        content.damage.insert(0, Damage("truncated-archive", message, found=view.size))
    elif not reading.globals and reading.end < 64:
        content.container = "unknown"
        content.damage = [Damage("not-a-checkpoint", "this is binary data that only begins like a pickle")]
    apart = _records_apart(view, reading)
    if apart:
        content.program, content.damage = None, [*apart, *content.damage]
        return checkpoint(view, content)
    content.metadata["torch_load"] = "refused: it is a bare pickle, read it with pickle.load"
    return checkpoint(view, content)


def _records_apart(view: FileView, reading: Reading) -> list[Damage]:
    """The damage of a torch archive's `data.pkl` that is a file of its own: are the other records beside it?"""
    folder = view.path.absolute().parent
    lost = [key for key, storage in reading.storages.items() if _size(folder, key) != storage.nbytes]
    damage = []
    if view.path.name == "data.pkl" and is_unpacked(folder) and not (lost and len(lost) == len(reading.storages)):
        new = next(n for i in count() if not os.path.lexists(folder.parent / (n := f"{folder.name}{'-packed' * i}.pt")))
        command = f'(cd "$(dirname FILE)/.." && zip -0 -r {shlex.quote(new)} {shlex.quote(folder.name)})'
        message = "a checkpoint was unpacked to this folder, and torch.load reads no folder; pack it again"
        damage.append(Damage("unpacked-archive", message, found=command))
    if lost:
        told = f"{len(lost):,} of its {len(reading.storages):,} tensor records are not beside it"
        message = f"this is the data.pkl of a torch archive, and {told}; loading raises"
        damage.append(Damage("missing-record", message, shown(f"data/{lost[0]}")))
    return damage


def _size(folder: Path, key: str) -> int | None:
    """Bytes of a record that was unpacked; None where it is absent, or its key leads elsewhere."""
    if Path(key).name != key:
        return None
    try:
        status = (folder / "data" / key).stat()
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _as_far_as_it_goes(view: FileView) -> int:
    """How many bytes to read: the file may be a terabyte of zeros behind a short pickle, none of it on the disk."""
    return min(max(view.stored_until(), 1 << 20), limits.MAX_PROGRAM_BYTES)


def open_neighbour(view: FileView, what: Damage) -> Checkpoint:
    """A file that is no checkpoint, with what its own reader would run: numpy arrays of objects are pickles."""
    content = Content("unknown", damage=[what])
    start = object_pickle(view.read_at(0, 1 << 12)) if stat.S_ISREG(view.mode) else None
    if start is not None:
        programs = file_programs()
        data = view.read_at(start, limits.MAX_PROGRAM_BYTES)
        read_program(programs, data, 0, None, "")
        content.take_names(programs)
    return checkpoint(view, content)
