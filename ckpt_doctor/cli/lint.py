"""`ckpt-doctor lint`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ckpt_doctor import reports
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import color, emit, exit_code, width
from ckpt_doctor.cli.settings import Settings, is_ignored
from ckpt_doctor.lint import SCRIPT_RULES, ScriptReport, lint
from ckpt_doctor.types import Linted


@click.command("lint")
@click.argument("scripts", nargs=-1, required=True, metavar="SCRIPT...", type=options.NAMED)
@options.selection
@options.fail_on
@options.formats(*reports.FORMATS)
@options.output_file
@click.pass_context
def command(
    ctx: click.Context,
    /,
    scripts: tuple[Path, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str,
    form: str,
    output: Path | None,
) -> None:
    """Find code in training scripts that endangers checkpoints, or that keeps a resume from being exact.

    SCRIPT is a Python file, a notebook, or a folder of them. The code is read, never run; modules of the same
    repository that it uses are read as well. A comment `# ckpt-doctor: ignore[X901]` silences a line.

    \b
    Examples:
      ckpt-doctor lint run_main.py run_pretrain.py
      ckpt-doctor lint . --format github
    """
    rules = [r for r in SCRIPT_RULES if (not select or r.code in select) and r.code not in ignore]
    linted = gathered(lint(scripts, rules), ctx.find_object(Settings) or Settings())
    shown = reports.linted(linted, form, rules=SCRIPT_RULES, width=width(), color=color(output))
    emit(shown, output)
    ctx.exit(exit_code([item.finding for item in linted.findings], fail_on))


def gathered(linted: Sequence[ScriptReport], settings: Settings) -> Linted:
    """The findings of all scripts in one list, without those that `per-path-ignores` silences."""
    items = [f for report in linted for f in report.findings if not is_ignored(f.finding, f.path, settings)]
    return Linted(
        tuple(report.path for report in linted),
        tuple(items),
        tuple(point for report in linted for point in report.not_checked),
    )
