"""`ckpt-doctor scan`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor import audit, reports
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import Progress, color, emit, exit_code, note, width
from ckpt_doctor.cli.settings import Settings, without_ignored
from ckpt_doctor.trainers import all_rules
from ckpt_doctor.types import Given


@click.command("scan", cls=options.Command)
@options.paths
@options.deep
@options.training_facts
@options.trainer
@options.selection
@options.trust
@options.fail_on
@options.formats(*reports.FORMATS)
@options.output_file
@click.pass_context
def command(
    ctx: click.Context,
    /,
    paths: tuple[Path, ...],
    deep: bool,
    facts: Given,
    trainer: str,
    logs: tuple[Path, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    trust: tuple[str, ...],
    fail_on: str,
    form: str,
    output: Path | None,
) -> None:
    """Audit checkpoints, read-only: is each file whole, and would a resume from it continue the run?

    PATH is a file, a step folder, a run folder or any tree (default: checkpoints/). Checkpoints are found by content,
    whatever their names. Only metadata is read, so the size of a file does not matter; --deep reads every byte.

    What the rules need to know of the training command (steps per epoch, --lradj, ...) is inferred from the files and
    from logs nearby, and printed with its source. An option that gives it wins.

    \b
    Examples:
      ckpt-doctor scan
      ckpt-doctor scan checkpoints/my_run --lradj TST --steps-per-epoch 8640
      ckpt-doctor scan old_checkpoints --deep --format json -o audit.json
    """
    with Progress() as progress:
        report = audit.scan(
            options.existing_paths(paths),
            facts=facts,
            trainer=trainer,
            deep=deep,
            select=select,
            ignore=ignore,
            trust=trust,
            logs=logs,
            progress=progress,
        )
    report = without_ignored(report, ctx.find_object(Settings) or Settings())
    if not report.files and form != "table":
        note(reports.nothing_found(report))
    shown = reports.judged(report, form, rules=all_rules(), curves=audit.curves, width=width(), color=color(output))
    emit(shown, output)
    ctx.exit(exit_code(report.findings, fail_on))
