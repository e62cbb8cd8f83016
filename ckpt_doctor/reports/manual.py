"""The rules as text: a list of all, and the manual of one."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import cleandoc
from typing import Protocol

from ckpt_doctor.reports.text import grid, wrap
from ckpt_doctor.types import TrainerManual

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

    @property
    def by_trainers(self) -> Sequence[TrainerManual]:
        """The manuals of trainers' own rules with its code."""


def rules(rules: Sequence[Rule], *, width: int = 80) -> str:
    """The manual of one rule, or the list of several."""
    return manual(rules[0]) if len(rules) == 1 else catalogue(rules, width=width)


def summary(rule: Rule) -> str:
    """The first paragraph of a rule's manual on one line."""
    return " ".join(cleandoc(rule.manual).split("\n\n")[0].split())


def catalogue(rules: Sequence[Rule], *, width: int = 80) -> str:
    """All rules, each with what it finds; where the window is narrow, on lines of its own."""
    heads = [("code", "name", "severity"), *((rule.code, rule.name, rule.severity) for rule in rules)]
    texts = ["when", *map(summary, rules)]
    alone = grid(heads, "<<<", "")
    room = width - max(map(len, alone)) - 2
    if room >= LEAST_BESIDE:
        whole = [(*head, "\n".join(wrap(text, room))) for head, text in zip(heads, texts, strict=True)]
        lines = grid(whole, "<<<<", "")
    else:
        pairs = zip(alone, texts, strict=True)
        lines = [line for head, text in pairs for line in (head, *wrap(text, width, "  ", "  "))]
    return "\n".join(lines) + "\n"


def manual(rule: Rule) -> str:
    """One rule in full."""
    return f"{rule.code} {rule.name} ({rule.severity})\n\n{whole(rule)}\n"


def whole(rule: Rule) -> str:
    """A rule's manual, and below it those of trainers' own rules, each trainer under a heading."""
    parts = [cleandoc(rule.manual)]
    for own in rule.by_trainers:
        heading = f"## In checkpoints of {own.title} ({own.severity})"
        parts += [cleandoc(own.manual)] if heading in parts else [heading, cleandoc(own.manual)]
    return "\n\n".join(parts)
