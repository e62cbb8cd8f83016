"""`ckpt-doctor demo`."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from pathlib import Path

import click

from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit
from ckpt_doctor.cli.paths import NAMED
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.remote import local
from ckpt_doctor.reports import json_v1, outcomes

PACKAGE = Path(__file__).parents[1]
SAMPLES = (PACKAGE / "sample_run", *(PACKAGE.parent / "fixtures" / "sample-runs").glob("first-patch-*"))
"""Where the sample run is: in an installed package (see `force-include` in pyproject.toml), in a checkout."""
AGE = 24 * 3600
"""Seconds since the files were last written: a file of this minute might still be growing."""


@click.command("demo")
@click.argument("folder", metavar="[DIR]", default="ckpt-doctor-demo", type=NAMED)
@options.formats("table", "json")
def command(folder: Path, form: str) -> None:
    """Make a sample run to try the tool on: three checkpoints and the log of a training run that died.

    DIR (default: ckpt-doctor-demo) must not be there, or be empty: nothing is written over.

    \b
    Example:
      ckpt-doctor demo
    """
    folder = local(folder)
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise WriteRefused(f"{folder} exists already: demo writes into a new folder only")
    shutil.copytree(next(sample for sample in SAMPLES if sample.is_dir()), folder, dirs_exist_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        os.utime(path, (time.time() - AGE,) * 2)
    shown = json_v1.demonstrated if form == "json" else outcomes.demonstrated
    emit(shown(folder, files, f"cd {shlex.quote(str(folder))} && ckpt-doctor scan"))
