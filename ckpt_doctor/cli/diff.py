"""`ckpt-doctor diff`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor import reports
from ckpt_doctor.audit import existing, resume_file
from ckpt_doctor.audit.compare import compare
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import color, emit, note, width
from ckpt_doctor.errors import UsageError
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.types import Checkpoint

INCOMPLETE = ("truncated-archive", "missing-record", "corrupt-record", "malformed-pickle")
"""Damage of which a comparison of what is left would say nothing."""


@click.command("diff")
@click.argument("left", metavar="A", type=options.NAMED)
@click.argument("right", metavar="B", type=options.NAMED)
@click.option("--deep", is_flag=True, help="Also compare the bytes of tensors.")
@options.formats("table", "json")
@click.pass_context
def command(ctx: click.Context, /, left: Path, right: Path, deep: bool, form: str) -> None:
    """Show what differs between two checkpoints: keys, training state, tensors.

    The formats may differ: a legacy file and an archive with the same content are the same. A folder stands for the
    file that the trainer takes from it. The exit code is 0 when nothing differs, 1 when something does, and 2 for what
    cannot be read: a file or, with --deep, the bytes of a tensor.

    \b
    Examples:
      ckpt-doctor diff my_run/checkpoint_step_17000 my_run/checkpoint_step_18000
      ckpt-doctor diff before.pt after.pt --deep
    """
    files = [resume_file(existing([path])[0]) for path in (left, right)]
    checkpoints = [open_checkpoint(file) for file in files]
    for checkpoint in checkpoints:
        if checkpoint.root is None and not checkpoint.tensors:
            raise UsageError(f"{checkpoint.path} cannot be compared: {nothing_in(checkpoint)}")
        for damage in checkpoint.damage:
            if damage.kind in INCOMPLETE:
                note(f"{checkpoint.path}: {damage.message}")
    comparison = compare(*checkpoints, deep=deep)
    emit(reports.compared(comparison, files[0], files[1], form, width=width(), color=color()))
    differs = bool(comparison.values or comparison.tensors)
    ctx.exit(1 if differs else 2 if comparison.not_compared else 0)


def nothing_in(checkpoint: Checkpoint) -> str:
    """Why a file has nothing to compare."""
    return checkpoint.damage[0].message if checkpoint.damage else "it holds nothing"
