"""`ckpt-doctor undo`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor import repair, reports
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit, unfinished, width
from ckpt_doctor.cli.paths import HERE


@click.command("undo")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=HERE)
@click.option("--in-place", is_flag=True, help="Shorten the file itself: instant, without the room that a copy takes.")
@options.formats("table", "json")
def command(paths: tuple[Path, ...], in_place: bool, form: str) -> int:
    """Take the last migration of each file back: afterwards it is, byte for byte, what it was before.

    Of a folder, all migrated files are meant. A file that was changed since its migration is left alone, and said so
    (exit code 1). Run it again to take the migration before that one back.

    \b
    Example:
      ckpt-doctor undo checkpoints/my_run/epoch_18.pt
    """
    results = repair.undo(paths, in_place=in_place)
    emit(reports.undone(results, form, width=width()))
    return unfinished(results)
