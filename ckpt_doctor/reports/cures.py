"""What to type: a finding's cure as a command that works from where the scan was made."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from ckpt_doctor.reports.groups import Group
from ckpt_doctor.reports.text import clean
from ckpt_doctor.types import Facts, RunReport

DEFAULT_PATHS = (Path("checkpoints"),)
PROGRAM = "ckpt-doctor "
MOST_FILES = 3
"""Files for which a cure that takes one file at a time is written out."""
OPTIONS = ("steps_per_epoch", "train_epochs", "lradj", "learning_rate", "pct_start", "patience", "world_size", "log")
"""Facts that are options with a value."""
FACTLESS = ("--to-cpu", "--plain-scalars", "--strip-prefix")
"""Repairs that ask for no fact of the training command."""
SETTINGS = "pyproject.toml"
"""The source of facts that hold without an option."""


def cures(group: Group, run: RunReport, paths: Sequence[Path]) -> list[str]:
    """A group's cure, ready to be pasted.

    A migration is told the paths and the facts that the scan was given; a cure that speaks of FILE is written out for
    each file concerned.
    """
    if not group.first.fix:
        return []
    fix = clean(group.first.fix)
    if not re.search(r"\bFILE\b", fix):
        return [repair(fix, run, paths)]
    files = group.files[:MOST_FILES]
    told = [re.sub(r"\bFILE\b", lambda _, file=file: quoted(file.checkpoint.path), fix) for file in files]  # type: ignore[misc]
    left = len(group.files) - len(files)
    return [*told, f"and so on for {left} more"] if left else told


def all_repairs(run: RunReport, groups: Sequence[Group], paths: Sequence[Path]) -> str:
    """The command for a run that needs more than one migration; empty where one or none will do."""
    called_for = {g.first.migration for g in groups if g.first.migration and g.first.severity != "info"}
    return repair("ckpt-doctor migrate --all", run, paths) if len(called_for) > 1 else ""


def repair(command: str, run: RunReport, paths: Sequence[Path]) -> str:
    """A migrate command with the facts that a person gave and, unless they are the default, the paths of the scan."""
    if not command.startswith(f"{PROGRAM}migrate"):
        return command
    named = [] if tuple(paths) == DEFAULT_PATHS else [quoted(path) for path in paths]
    facts = [] if command.split()[-1] in FACTLESS else given_options(run.run.facts)
    return " ".join([command, *facts, *named])


def given_options(facts: Facts) -> list[str]:
    """`--lradj TST` for each fact that was given with the call."""
    words = []
    for name in OPTIONS:
        fact = getattr(facts, name)
        if fact is not None and fact.given and fact.source != SETTINGS:
            words += [f"--{name.replace('_', '-')}", quoted(fact.value)]
    if facts.shuffle is not None and facts.shuffle.given and facts.shuffle.source != SETTINGS:
        words.append("--shuffle" if facts.shuffle.value else "--no-shuffle")
    return words


def quoted(value: object) -> str:
    """A word for a shell; with bytes that don't print as bash's `$'...'`, which brings them back."""
    text = str(value)
    if text.isprintable():
        return shlex.quote(text)
    escaped = (chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in os.fsencode(text))
    return f"$'{''.join(escaped)}'"


def is_command(cure: str) -> bool:
    """Whether a cure is something to paste (which must not be broken into lines), not a sentence."""
    return cure.startswith(PROGRAM)
