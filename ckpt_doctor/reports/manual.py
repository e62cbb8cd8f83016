"""The rules as text: a list of all, and the manual of one."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import cleandoc
from typing import Any, Protocol

from ckpt_doctor.reports.json_v1 import dumps
from ckpt_doctor.reports.text import grid


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
    """All rules, one line each."""
    heads = grid([("code", "name", "severity"), *((r.code, r.name, r.severity) for r in rules)], "<<<")
    room = width - max(map(len, heads)) - 2
    texts = ["when", *map(summary, rules)]
    lines = [
        f"{head.ljust(width - room - 2)}  {first_words(text, room)}" for head, text in zip(heads, texts, strict=True)
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def first_words(text: str, room: int) -> str:
    """As many whole words as fit, with dots where some are left out."""
    if len(text) <= room:
        return text
    return text[: max(0, room - 3)].rpartition(" ")[0] + "..."


def manual(rule: Rule) -> str:
    """One rule in full."""
    return f"{rule.code} {rule.name} ({rule.severity})\n\n{cleandoc(rule.manual)}\n"


def catalogue_json(rules: Sequence[Rule]) -> str:
    """All rules with their manuals, as JSON."""
    entries: list[dict[str, Any]] = [
        {"code": r.code, "name": r.name, "severity": r.severity, "manual": cleandoc(r.manual)} for r in rules
    ]
    return dumps(entries)
