"""`ckpt-doctor diff`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor.audit.compare import comparable, compare, incomplete
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import color, emit, note, width
from ckpt_doctor.cli.paths import NAMED
from ckpt_doctor.reports import diff, json_v1


@click.command("diff")
@click.argument("left", metavar="A", type=NAMED)
@click.argument("right", metavar="B", type=NAMED)
@click.option("--deep", is_flag=True, help="Also compare the bytes of tensors.")
@options.formats("table", "json")
def command(left: Path, right: Path, deep: bool, form: str) -> int:
    """Show what differs between two checkpoints: keys, training state, tensors.

    The formats may differ: a legacy file and an archive with the same content are the same. A folder stands for the
    file that the trainer takes from it. The exit code is 0 when nothing differs, 1 when something does, and 2 for what
    cannot be read: a file or, with --deep, the bytes of a tensor.

    \b
    Examples:
      ckpt-doctor diff my_run/epoch_17.pt my_run/epoch_18.pt
      ckpt-doctor diff before.pt after.pt --deep
    """
    ours, theirs = comparable(left), comparable(right)
    for sentence in incomplete(ours, theirs):
        note(sentence)
    comparison = compare(ours, theirs, deep=deep)
    if form == "json":
        emit(json_v1.compared(comparison, ours.path, theirs.path))
    else:
        emit(diff.compared(comparison, ours.path, theirs.path, width=width(), color=color()))
    return 1 if comparison.differs else 2 if comparison.not_compared else 0
