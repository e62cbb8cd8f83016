"""`ckpt-doctor latest`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ckpt_doctor import advice, audit
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit, note, width
from ckpt_doctor.reports import json_v1, latest


@click.command("latest", cls=options.Command)
@options.one_path
@click.option("--repairable", is_flag=True, help="Also accept a checkpoint that `ckpt-doctor migrate` can put right.")
@options.deep
@options.training_facts
@options.ignored
@options.trust
@options.formats("text", "json")
def command(path: Path, form: str, **given: Any) -> int:
    """Print the path of the newest checkpoint of a run that is whole and safe to resume from.

    PATH is a run folder (default: checkpoints/). Newest means furthest in training, not the highest number in a name.
    stderr begins with what `scan` advises for the run, and says why newer ones were passed over and what the resume
    command must carry. Where no checkpoint will do, nothing is printed and the exit code is 1; where PATH holds several
    runs, a command for each is listed and the exit code is 2.

    \b
    Examples:
      RESUME_FROM=$(ckpt-doctor latest checkpoints/my_run)
      RESUME_FROM=$(ckpt-doctor latest checkpoints/my_run --repairable)
      ckpt-doctor migrate "$RESUME_FROM" --all
    """
    [path] = audit.existing(path)
    if runs := audit.several_runs(path):
        for line in latest.choices(path, runs):
            note(line)
        return 2
    found = advice.find_latest(audit.one_run(path), **given)
    for line in latest.notes(found, width()):
        note(line)
    if form == "json":
        emit(json_v1.latest(found))
    elif found.file is not None:
        click.echo(os.fsencode(found.file.checkpoint.path))  # as it is on disk: for a program, which must find the file
    return int(found.file is None)
