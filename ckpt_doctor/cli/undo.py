"""`ckpt-doctor undo`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor import repair
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit, width
from ckpt_doctor.reports.repairs import migrations_json, undone
from ckpt_doctor.version import __version__


@click.command("undo")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=options.NAMED)
@click.option("--in-place", is_flag=True, help="Shorten the file itself: instant, without the room that a copy takes.")
@options.formats("table", "json")
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[Path, ...], in_place: bool, form: str) -> None:
    """Take the last migration of each file back: afterwards it is, byte for byte, what it was before.

    Of a folder, all migrated files are meant. A file that was changed since its migration is left alone, and said so
    (exit code 1). Run it again to take the migration before that one back.

    \b
    Example:
      ckpt-doctor undo checkpoints/my_run/checkpoint_step_18000/checkpoint.pt
    """
    results = repair.undo(paths, in_place=in_place)
    emit(migrations_json(results, version=__version__) if form == "json" else undone(results, width=width()))
    ctx.exit(int(any(result.status != "undone" for result in results)))
