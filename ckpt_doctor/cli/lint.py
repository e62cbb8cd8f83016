"""`ckpt-doctor lint`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor.cli import options, settings
from ckpt_doctor.cli.output import color, emit, exit_code, width
from ckpt_doctor.cli.paths import HERE
from ckpt_doctor.lint import SCRIPT_RULES, check_scripts
from ckpt_doctor.reports import FORMATS, linting


@click.command("lint", cls=options.Command)
@click.argument("scripts", nargs=-1, required=True, metavar="SCRIPT...", type=HERE)
@options.selection
@options.fail_on
@options.report_formats(*FORMATS)
def command(
    scripts: tuple[Path, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str,
    form: str,
    output: Path | None,
) -> int:
    """Find code in training scripts that endangers checkpoints, or that keeps a resume from being exact.

    SCRIPT is a Python file, a notebook, or a folder of them. The code is read, never run; modules of the same
    repository that it uses are read as well. A comment `# ckpt-doctor: ignore[X901]` silences a line.

    \b
    Examples:
      ckpt-doctor lint run_main.py run_pretrain.py
      ckpt-doctor lint . --format github
    """
    linted = check_scripts(scripts, select, ignore, settings.silenced())
    emit(linting.linted(linted, form, rules=SCRIPT_RULES, width=width(), color=color(output)), output)
    return exit_code((item.finding.severity for item in linted.findings), fail_on)
