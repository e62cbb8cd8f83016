"""`ckpt-doctor scan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckpt_doctor import advice, audit, reports
from ckpt_doctor.cli import options, settings
from ckpt_doctor.cli.output import Progress, color, emit, exit_code, note, width
from ckpt_doctor.reports import Detail
from ckpt_doctor.trainers import all_rules


@click.command("scan", cls=options.Command)
@options.paths
@options.deep
@options.training_facts
@options.trainer
@options.selection
@options.trust
@options.fail_on
@options.report_formats(*reports.FORMATS)
@options.verbosity
def command(paths: tuple[Path, ...], fail_on: str, form: str, output: Path | None, detail: Detail, **given: Any) -> int:
    """Audit checkpoints, read-only: is each file whole, and would a resume from it continue the run?

    PATH is a file, a step folder, a run folder or any tree (default: checkpoints/). Checkpoints are found by content,
    whatever their names. Only metadata is read, so the size of a file does not matter; --deep reads every byte.

    What to do comes first: which checkpoint to resume from, after which command, or what is missing. What the rules
    need to know of the training command (steps per epoch, epochs, ...) is inferred from the files and from logs
    nearby (-v prints each with its source). An option that gives it wins.

    \b
    Examples:
      ckpt-doctor scan
      ckpt-doctor scan checkpoints/my_run --steps-per-epoch 8640 --train-epochs 10
      ckpt-doctor scan old_checkpoints --deep --format json -o audit.json
    """
    with Progress() as progress:
        report = advice.scan(paths, silenced=settings.silenced, progress=progress, outlines=form != "html", **given)
    if not report.files and form != "table":
        note(reports.nothing_found(report))
    shown = reports.judged(
        report, form, rules=all_rules, curves=audit.curves, width=width(), color=color(output), detail=detail
    )
    emit(shown, output)
    return exit_code(report.findings, fail_on)
