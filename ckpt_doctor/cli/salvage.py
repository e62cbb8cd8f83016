"""`ckpt-doctor salvage`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor import audit
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit, width
from ckpt_doctor.cli.paths import NAMED
from ckpt_doctor.repair.salvage import salvage
from ckpt_doctor.reports import json_v1, outcomes


@click.command("salvage")
@click.argument("file", type=NAMED)
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The new file to write."
)
@options.formats("table", "json")
def command(file: Path, output: Path, form: str) -> int:
    """Rebuild a readable checkpoint from a truncated or damaged one.

    The new file OUT has every tensor whose bytes are all there, bit for bit, and the output says what is lost. A
    safetensors file gives a safetensors file (OUT must have that suffix); every other checkpoint gives an archive that
    opens with torch.load(weights_only=True) on any device. FILE is only read; OUT must not exist yet. The exit code is
    1 when OUT is not good for a resume.

    \b
    Example:
      ckpt-doctor salvage checkpoints/my_run/checkpoint -o rescued.pt
    """
    result = salvage(audit.resume_file(file), output)
    emit(json_v1.salvaged(result) if form == "json" else outcomes.salvaged(result, width=width()))
    return int(result.good_for != "resume")
