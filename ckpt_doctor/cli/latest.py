"""`ckpt-doctor latest`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ckpt_doctor import audit, repair, reports
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit, note
from ckpt_doctor.types import Given


@click.command("latest", cls=options.Command)
@click.argument("run_dir", type=options.NAMED)
@click.option("--repairable", is_flag=True, help="Also accept a checkpoint that `ckpt-doctor migrate` can put right.")
@options.deep
@options.training_facts
@options.trainer
@options.ignored
@options.trust
@options.formats("text", "json")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    run_dir: Path,
    repairable: bool,
    deep: bool,
    facts: Given,
    trainer: str,
    logs: tuple[Path, ...],
    ignore: tuple[str, ...],
    trust: tuple[str, ...],
    form: str,
) -> None:
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
    path, passed_over = audit.latest(
        run_dir, facts=facts, trainer=trainer, logs=logs, ignore=ignore, trust=trust, repairable=repairable, deep=deep
    )
    for newer, reason in passed_over:
        note(f"passed over {newer}: {reason}")
    # The gate's own answer on it: what is no reason to pass it over may still ask for something.
    file = (
        audit.check(path, facts=facts, trainer=trainer, logs=logs, ignore=ignore, trust=trust).files[0]
        if path is not None
        else None
    )
    left = [finding for finding in file.findings if finding.severity != "info"] if file else []
    for finding in left:
        note(f"{path}: {finding.code} {finding.name}: {finding.fix or 'no edit of the file cures that'}")
    if form == "json":
        emit(reports.latest(file, left, passed_over))
    elif path is not None:
        click.echo(os.fsencode(path))  # as it is on disk: this is for a program, which must find the file
    if path is None:
        other = audit.latest(
            run_dir, facts=facts, trainer=trainer, logs=logs, ignore=ignore, trust=trust, repairable=True, deep=deep
        )[0]
        hint = ""
        if other is not None:
            given: dict[str, Any] = {"facts": facts, "trainer": trainer, "logs": logs, "ignore": ignore, "trust": trust}
            refused = repair.migrate([other], **given, dry_run=True)[0].refusals
            claim = f" --trainer {trainer}" if trainer else ""
            cure = f"`ckpt-doctor migrate --all{claim} {reports.quoted(other)}` puts one right"
            hint = f"; {refused[0].reason}; give {refused[0].settle}" if refused else f"; {cure}"
        note(f"no checkpoint in {run_dir} is safe to resume from{hint}")
    ctx.exit(int(path is None))
