"""`ckpt-doctor inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor import audit
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import Progress, color, emit, width
from ckpt_doctor.cli.paths import NAMED
from ckpt_doctor.reports import inspect


@click.command("inspect", cls=options.Command)
@click.argument("file", type=NAMED, required=False, metavar="FILE")
@click.option(
    "--stats",
    "pattern",
    is_flag=False,
    flag_value="*",
    metavar="[PATTERN]",
    help="Minimum, maximum, mean, deviation, zeros and non-finite numbers of each tensor, or of those whose names a "
    "glob fits (`*.bias`) or contain PATTERN. Reads their bytes, in little memory.",
)
@click.option("--depth", type=click.IntRange(min=1), default=6, show_default=True, help="How deep the tree goes.")
@options.report_formats("table", "tree", "json")
@options.trainer
@click.pass_context
def command(
    ctx: click.Context,
    file: Path | None,
    pattern: str | None,
    depth: int,
    form: str,
    trainer: str,
    output: Path | None,
) -> int:
    """Show what one file holds: keys, training state, tensors with dtype, shape and device.

    Nothing in the file is run, imported or loaded: objects that are no plain values or tensors are shown by the name
    of what would build them. A folder stands for the file that the trainer takes from it. The exit code is 1 for a
    file that is damaged or no checkpoint.

    \b
    Examples:
      ckpt-doctor inspect checkpoints/my_run/checkpoint
      ckpt-doctor inspect model.safetensors --format tree
      ckpt-doctor inspect my_run/checkpoint --stats "model.*bias"
      ckpt-doctor inspect my_run/checkpoint --format json -o content.json
    """
    if file is None and pattern not in (None, "*"):  # `inspect --stats FILE`: what follows the option is its value
        file, pattern = Path(str(pattern)), "*"
    if file is None:
        raise click.UsageError("Missing argument 'FILE'.", ctx)
    judged = audit.check(file, trainer=trainer, gate=False).files[0]
    measured = None
    if pattern is not None:
        with Progress() as progress:
            measured = audit.measured(judged.checkpoint, pattern, progress)
    shown = inspect.inspected(judged, form, depth=depth, measured=measured, width=width(), color=color(output))
    emit(shown, output)
    return int(audit.is_damaged(judged))
