"""What to type: a finding's cure as a command that works from where the scan was made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ckpt_doctor.reports.columns import label
from ckpt_doctor.reports.facts import given_options
from ckpt_doctor.reports.groups import Group
from ckpt_doctor.reports.text import argument, clean, command_line, quoted, repaired
from ckpt_doctor.types import FileReport, RunReport

DEFAULT_PATHS = (Path("checkpoints"),)
PROGRAM = "ckpt-doctor "
MOST_FILES = 3
"""Files for which a cure that takes one file at a time is written out."""
FACTLESS = ("--to-cpu", "--plain-scalars", "--strip-prefix")
"""Repairs that ask for no fact of the training command."""


def cures(group: Group, run: RunReport, paths: Sequence[Path]) -> list[str]:
    """A group's cure, ready to be pasted.

    A migration is told the paths and the facts that the scan was given; a cure that speaks of FILE is written out for
    each file concerned.
    """
    if not group.first.fix:
        return []
    fix = clean(group.first.fix)
    if run.advice is not None and group.first.migration:  # only what a dry run would carry out
        if group.first.severity != "info":
            return [command_line(run.all_repairs)] if run.all_repairs else _one_by_one(group, run)
        damaged = any(f.severity == "error" and f.code[0] in "FS" for file in run.files for f in file.findings)
        return [] if damaged else [repair(fix, run, (run.run.path,))]
    if not re.search(r"\bFILE\b", fix):
        return [repair(fix, run, paths)]
    files = [path for path in group.paths if path != run.run.path]
    if run.advice is not None:
        names = {file.checkpoint.path: output_name(file, run.run.path) for file in run.files}
        told = [_filled(fix, path, names.get(path, "OUT")) for path in files[:MOST_FILES]]
        return [*told, *_and_so_on(len(files) - len(told))]
    options = _options(fix, run)
    named = [" ".join([*options, quoted(file)]) for file in files[:MOST_FILES]]
    told = [re.sub(r"\bFILE\b", lambda _, name=name: name, fix) for name in named]  # type: ignore[misc]
    return [*told, *_and_so_on(len(files) - len(told))]


def _and_so_on(left: int) -> list[str]:
    return [f"and so on for {left} more"] if left > 0 else []


def output_name(file: FileReport, run: Path) -> str:
    """What to call a file that is made of another one, in the working folder."""
    suffix = file.checkpoint.path.suffix
    kept = suffix if suffix != ".json" else ""  # an index, which no result is
    return f"{label(file, run).removesuffix(suffix).replace('/', '-')}-salvaged{kept or '.pt'}"


def names_for(path: Path, output: str) -> dict[str, str]:
    """What a cure's FILE and OUT stand for."""
    return {"FILE": argument(path), "OUT": output, "OUT.safetensors": str(Path(output).with_suffix(".safetensors"))}


def _filled(fix: str, path: Path, output: str) -> str:
    """A command whose FILE and OUT are named."""
    names = names_for(path, output)
    return re.sub(r"\b(FILE|OUT(\.safetensors)?)\b", lambda found: quoted(names[found[0]]), fix)


def _one_by_one(group: Group, run: RunReport) -> list[str]:
    """The commands that repair the files of a group, where not all of the run can be repaired at once."""
    told = [command_line(f.repair) for f in run.files if f.checkpoint.path in group.paths and f.repair]
    return [*told[:MOST_FILES], *_and_so_on(len(told) - MOST_FILES)]


def all_repairs(run: RunReport, groups: Sequence[Group], paths: Sequence[Path]) -> str:
    """The command for a run that needs more than one migration; empty where one or none will do."""
    if run.advice is not None:
        return command_line(run.all_repairs)
    called_for = {g.first.migration for g in groups if g.first.migration and g.first.fix and g.first.severity != "info"}
    return repair("ckpt-doctor migrate --all", run, paths) if len(called_for) > 1 else ""


def repair(command: str, run: RunReport, paths: Sequence[Path]) -> str:
    """A migrate command with the facts that a person gave and, unless they are the default, the paths of the scan."""
    if not command.startswith(f"{PROGRAM}migrate"):
        return command
    named = [] if tuple(paths) == DEFAULT_PATHS else [repaired(*paths)]
    return " ".join([command, *_options(command, run), *named])


def _options(command: str, run: RunReport) -> list[str]:
    """What a migrate command needs of what a person gave: the trainer, and the facts where the repair asks for any."""
    if not command.startswith(f"{PROGRAM}migrate"):
        return []
    claimed = ["--trainer", quoted(run.run.claimed)] if run.run.claimed else []
    if command.split()[-1] in FACTLESS:
        return claimed
    logs = [word for log in run.run.logs for word in ("--log", quoted(log))]
    return [*claimed, *given_options(run.run.facts), *logs]


def is_command(cure: str) -> bool:
    """Whether a cure is something to paste (which must not be broken into lines), not a sentence."""
    return cure.startswith((PROGRAM, "(cd "))
