"""`ckpt-doctor rule`."""

from __future__ import annotations

import click

from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit, width
from ckpt_doctor.cli.rules import all_rules, find_rule
from ckpt_doctor.reports import json_v1, manual


@click.command("rule")
@click.argument(
    "code",
    required=False,
    shell_complete=lambda _ctx, _parameter, begun: [r.code for r in all_rules() if r.code.startswith(begun.upper())],
)
@options.formats("table", "json")
def command(code: str | None, form: str) -> None:
    """Explain one rule: what it finds, why that matters, how to cure it. Without CODE, list all.

    CODE is a code or a name; capitals don't matter.

    \b
    Examples:
      ckpt-doctor rule
      ckpt-doctor rule E601
      ckpt-doctor rule scheduler-behind
    """
    rules = all_rules() if code is None else (find_rule(code),)
    emit(json_v1.rules(rules) if form == "json" else manual.rules(rules, width=width()))
