"""`ckpt-doctor latest`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ckpt_doctor import repair, reports
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit, note


@click.command("latest", cls=options.Command)
@click.argument("run_dir", type=options.NAMED)
@click.option("--repairable", is_flag=True, help="Also accept a checkpoint that `ckpt-doctor migrate` can put right.")
@options.deep
@options.training_facts
@options.trainer
@options.ignored
@options.trust
@options.formats("text", "json")
def command(run_dir: Path, form: str, **given: Any) -> int:
    """Print the path of the newest checkpoint of a run that is whole and safe to resume from.

    Newest means furthest in training, not the highest number in a name. Why newer ones were passed over, and what the
    resume command must carry, is said on stderr. Where no checkpoint will do, nothing is printed and the exit code
    is 1.

    \b
    Examples:
      RESUME_FROM=$(ckpt-doctor latest checkpoints/my_run)
      RESUME_FROM=$(ckpt-doctor latest checkpoints/my_run --repairable)
      ckpt-doctor migrate "$RESUME_FROM" --all
    """
    found = repair.find_latest(run_dir, **given)
    for sentence in reports.latest_notes(found):
        note(sentence)
    if form == "json":
        emit(reports.latest(found))
    elif found.file is not None:
        click.echo(os.fsencode(found.file.checkpoint.path))  # as it is on disk: for a program, which must find the file
    return int(found.file is None)
