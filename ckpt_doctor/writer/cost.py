"""What a write will cost in disk space, before anything is written."""

from __future__ import annotations

from pathlib import Path

from ckpt_doctor.types import Checkpoint, Cost, Mode
from ckpt_doctor.writer import copying
from ckpt_doctor.writer.files import free_space
from ckpt_doctor.writer.splice import ZIPS
from ckpt_doctor.writer.write import output_path
from ckpt_doctor.writer.zip_append import read_directory

RECORD_ALLOWANCE = 64 << 10
"""Bytes for a migration's record, which is not known yet; real ones have 1 to 20 KB."""


def cost(checkpoint: Checkpoint, program_size: int, mode: Mode = "replace", output: Path | None = None) -> Cost:
    """Upper bounds of the extra disk space that `write` with a program of `program_size` bytes takes.

    Raises `OSError` when the file cannot be read and `WriteRefused` when its archive cannot be appended to.
    """
    source = checkpoint.path.resolve()
    old_program = checkpoint.program.length if checkpoint.program is not None else 0
    appends = checkpoint.container in ZIPS
    with source.open("rb") as file:
        allocated = copying.allocated(file.fileno())
        if appends:
            directory = read_directory(file.fileno(), checkpoint.size)
            extra = program_size + checkpoint.size - directory.offset + RECORD_ALLOWANCE
        else:
            # The new generation of the undo file holds the old program as base64, beside the older ones.
            extra = max(0, program_size - old_program) + old_program * 4 // 3 + RECORD_ALLOWANCE
    edited = mode == "in-place" and appends
    during = extra if edited else allocated + extra
    return Cost(
        during=during,
        after=allocated + extra if mode == "output" else extra,
        free=free_for(checkpoint, output),
    )


def free_for(checkpoint: Checkpoint, output: Path | None) -> int | None:
    """Free bytes where the result of a migration goes, whose folder may not exist yet; None where it is not known."""
    folder = (output_path(checkpoint.path, output) if output is not None else checkpoint.path.resolve()).parent
    while not folder.exists():
        folder = folder.parent
    return free_space(folder)
