"""`ckpt-doctor check`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor import audit, reports
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import Progress, color, emit, exit_code, note, width
from ckpt_doctor.cli.settings import Settings, without_ignored
from ckpt_doctor.trainers import all_rules
from ckpt_doctor.types import Given


@click.command("check", cls=options.Command)
@click.argument("path", type=click.Path())
@options.deep
@options.training_facts
@options.trainer
@options.selection
@options.trust
@options.fail_on
@options.formats(*reports.FORMATS)
@options.output_file
@click.option(
    "--flags",
    is_flag=True,
    help="Print nothing but what the resume command must carry; the report goes to stderr. A rate jump that these "
    "flags cure does not count.",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    path: str,
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
    flags: bool,
) -> None:
    """Tell whether the trainer will resume from PATH, and what it will do: the gate before a resume.

    PATH is what the trainer's --resume_from_checkpoint gets: a file or a folder. Prints where training will start, how
    many batches it skips, the learning rate of its first step beside that of the uninterrupted run, what EarlyStopping
    remembers, what the resume command must carry, and the verdict.

    An empty PATH means a first start, with nothing to resume from: exit code 0. So a script can always call it:

    \b
    Examples:
      ckpt-doctor check "$RESUME_FROM" --lradj "$LRADJ" || exit 1
      ckpt-doctor check my_run/checkpoint_step_18000 --learning-rate 4e-06
      ckpt-doctor check checkpoints/my_run --fail-on error --format json
      FLAGS=$(ckpt-doctor check "$RESUME_FROM" --flags) || exit 1
    """
    if not path:
        note("no checkpoint to resume from (PATH is empty): a first start, nothing to check")
        ctx.exit(0)
    with Progress() as progress:
        report = audit.check(
            Path(path),
            facts=facts,
            trainer=trainer,
            logs=logs,
            deep=deep,
            select=select,
            ignore=ignore,
            trust=trust,
            progress=progress,
        )
    report = without_ignored(report, ctx.find_object(Settings) or Settings())
    to_file = output if not flags else None
    shown = reports.judged(
        report, form, plan=True, rules=all_rules(), curves=audit.curves, width=width(), color=color(to_file)
    )
    if not flags:
        emit(shown, output)
        ctx.exit(exit_code(report.findings, fail_on))
    click.echo(shown, nl=False, err=True)
    plan = report.files[0].plan
    emit(" ".join(plan.flags if plan else ()) + "\n", output)
    ctx.exit(exit_code((f for f in report.findings if f.code != "R506"), fail_on))
