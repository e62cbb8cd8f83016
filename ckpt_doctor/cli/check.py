"""`ckpt-doctor check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckpt_doctor import advice, audit, reports
from ckpt_doctor.cli import options, settings
from ckpt_doctor.cli.output import Progress, color, emit, exit_code, note, width
from ckpt_doctor.reports import Detail
from ckpt_doctor.trainers import all_rules
from ckpt_doctor.types import without_flagged


@click.command("check", cls=options.Command)
@click.argument("path", type=click.Path(readable=False))
@options.deep
@options.training_facts
@options.selection
@options.trust
@options.fail_on
@options.report_formats(*reports.FORMATS)
@options.verbosity
@click.option(
    "--flags",
    is_flag=True,
    help="Print nothing but what the resume command must carry; the report goes to stderr. A rate jump that these "
    "flags cure does not count.",
)
def command(path: str, fail_on: str, form: str, output: Path | None, flags: bool, detail: Detail, **given: Any) -> int:
    """Tell whether the trainer will resume from PATH, and what it will do: the gate before a resume.

    PATH is what the trainer's --resume_from_checkpoint gets: a file or a folder. Prints where training will start, how
    many batches it skips, the learning rate of its first step beside that of the uninterrupted run, what EarlyStopping
    remembers, what the resume command must carry, and the verdict.

    An empty PATH means a first start, with nothing to resume from: exit code 0. So a script can always call it:

    \b
    Examples:
      ckpt-doctor check "$RESUME_FROM" --steps-per-epoch 500 || exit 1
      ckpt-doctor check my_run/epoch_18.pt --learning-rate 4e-06
      ckpt-doctor check checkpoints/my_run --fail-on error --format json
      FLAGS=$(ckpt-doctor check "$RESUME_FROM" --flags) || exit 1
    """
    if not path:
        note("no checkpoint to resume from (PATH is empty): a first start, nothing to check")
        return 0
    [folder] = audit.existing(path)
    if folder.is_dir() and next(iter(audit.checkpoint_files(folder)), None) is None:
        note(reports.nothing_found([folder]))
        return 1
    with Progress() as progress:
        report = advice.check(folder, silenced=settings.silenced(), progress=progress, **given)
    colored = color(None if flags else output)
    shown = reports.judged(
        report, form, plan=True, rules=all_rules, curve=audit.curve_of, width=width(), color=colored, detail=detail
    )
    if not flags:
        emit(shown, output)
        return exit_code((found.severity for found in report.findings), fail_on)
    click.echo(shown, nl=False, err=True)
    plan = report.files[0].plan
    emit(" ".join(plan.flags if plan else ()) + "\n", output)
    return exit_code((found.severity for found in without_flagged(report.findings)), fail_on)
