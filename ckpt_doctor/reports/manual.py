"""The rules as text: a list of all, and the manual of one."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import cleandoc
from typing import Any, Protocol

from ckpt_doctor.reports.json_v1 import dumps
from ckpt_doctor.reports.text import grid, wrap

LEAST_BESIDE = 24
"""Columns in which a sentence beside a rule's name still reads well."""


class Rule(Protocol):
    """What a formatter needs to know of a rule."""

    @property
    def code(self) -> str:
        """`E601`."""

    @property
    def name(self) -> str:
        """`missing-best-score`."""

    @property
    def severity(self) -> str:
        """`error`, `warning` or `info`."""

    @property
    def manual(self) -> str:
        """Its docstring: what it finds, why that matters, how to cure it."""


def summary(rule: Rule) -> str:
    """The first paragraph of a rule's manual on one line."""
    return " ".join(cleandoc(rule.manual).split("\n\n")[0].split())


def catalogue(rules: Sequence[Rule], *, width: int = 80) -> str:
    """All rules, each with what it finds; where the window is narrow, on lines of its own."""
    heads = grid([("code", "name", "severity"), *((r.code, r.name, r.severity) for r in rules)], "<<<")
    indent = max(map(len, heads)) + 2
    beside = width - indent >= LEAST_BESIDE
    lines: list[str] = []
    for head, text in zip(heads, ["when", *map(summary, rules)], strict=True):
        if beside:
            lines += wrap(text, width, head.ljust(indent), " " * indent)
        else:
            lines += [head, *wrap(text, width, "  ", "  ")]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def manual(rule: Rule) -> str:
    """One rule in full."""
    return f"{rule.code} {rule.name} ({rule.severity})\n\n{cleandoc(rule.manual)}\n"


def catalogue_json(rules: Sequence[Rule]) -> str:
    """All rules with their manuals, as JSON."""
    entries: list[dict[str, Any]] = [
        {"code": r.code, "name": r.name, "severity": r.severity, "manual": cleandoc(r.manual)} for r in rules
    ]
    return dumps(entries)
