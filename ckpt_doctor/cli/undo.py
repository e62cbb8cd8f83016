"""`ckpt-doctor undo`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor import repair
from ckpt_doctor.cli.output import emit, width
from ckpt_doctor.reports.repairs import undone


@click.command("undo")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
def command(paths: tuple[Path, ...]) -> None:
    """Take the last migration of each file back: afterwards it is, byte for byte, what it was before.

    A file that was changed since its migration is left alone, and said so (exit code 1). Run it again to take the
    migration before that one back.

    \b
    Example:
      ckpt-doctor undo checkpoints/my_run/checkpoint_step_18000/checkpoint.pt
    """
    emit(undone(repair.undo(paths), width=width()))
