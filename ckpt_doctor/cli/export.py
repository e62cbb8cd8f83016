"""`ckpt-doctor export`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit, width
from ckpt_doctor.cli.paths import NAMED
from ckpt_doctor.repair.export import export
from ckpt_doctor.reports import json_v1, outcomes


@click.command("export")
@click.argument("path", type=NAMED)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="OUT.safetensors",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The new file to write; what is there already is never written over.",
)
@click.option("--key", default="", help="The part to write, where it is not the model: ema, optimizer.")
@options.formats("table", "json")
def command(path: Path, output: Path, key: str, form: str) -> None:
    """Write the weights of a checkpoint alone, as a safetensors file.

    PATH is a file, a checkpoint folder or the index of a sharded model, which becomes one file. Tensors keep their
    names, types and bytes; what two names share is written once. Nothing of PATH is run or imported, and a file of any
    size takes little memory. Weights that are not whole are refused: see `salvage`.

    \b
    Examples:
      ckpt-doctor export my_run/checkpoint -o weights.safetensors
      ckpt-doctor export my_run/checkpoint --key optimizer -o adam.safetensors
    """
    result = export(path, output, key=key)
    emit(json_v1.exported(result) if form == "json" else outcomes.exported(result, width=width()))
