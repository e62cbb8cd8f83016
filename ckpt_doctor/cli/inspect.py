"""`ckpt-doctor inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor import audit, reports
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import color, emit, width


@click.command("inspect")
@click.argument("file", type=options.NAMED)
@click.option("--depth", type=click.IntRange(min=1), default=6, show_default=True, help="How deep the tree goes.")
@options.formats("table", "tree", "json")
@options.trainer
@options.output_file
def command(file: Path, depth: int, form: str, trainer: str, output: Path | None) -> int:
    """Show what one file holds: keys, training state, tensors with dtype, shape and device.

    Nothing in the file is run, imported or loaded: objects that are no plain values or tensors are shown by the name
    of what would build them. A folder stands for the file that the trainer takes from it. The exit code is 1 for a
    file that is damaged or no checkpoint.

    \b
    Examples:
      ckpt-doctor inspect checkpoints/my_run/checkpoint
      ckpt-doctor inspect model.safetensors --format tree
      ckpt-doctor inspect my_run/checkpoint --format json -o content.json
    """
    judged = audit.check(file, trainer=trainer, gate=False).files[0]
    emit(reports.inspected(judged, form, depth=depth, width=width(), color=color(output)), output)
    return int(audit.is_damaged(judged))
