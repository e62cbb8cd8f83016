"""`[tool.ckpt-doctor]` of the nearest pyproject.toml: defaults for options, and rules to ignore under some paths."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import field
from fnmatch import fnmatch
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from ckpt_doctor import reports, trainers
from ckpt_doctor.cli.output import FAIL_ON
from ckpt_doctor.errors import UsageError
from ckpt_doctor.remote import is_url
from ckpt_doctor.trainers.facts import every_fact
from ckpt_doctor.types import Count, Finding, selects
from ckpt_doctor.types.record import record


def _strings(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


TRAINERS = tuple(trainer.name for trainer in trainers.known())
Check = tuple[Callable[[Any], bool], str]
"""What a value must be, as a test and in words."""
_OTHERS: Mapping[str, Check] = {
    "script": (lambda v: isinstance(v, str), "a path"),
    "log": (_strings, "a path or a list of paths"),
    "trainer": (lambda v: v in TRAINERS, f"one of {', '.join(TRAINERS)}"),
    "deep": (lambda v: isinstance(v, bool), "true or false"),
    "jobs": (Count().fits, Count.what),
    "dask": (lambda v: isinstance(v, str), "the address of a scheduler"),
    "format": (lambda v: v in reports.FORMATS, f"one of {', '.join(reports.FORMATS)}"),
    "select": (_strings, "a list of rule codes"),
    "ignore": (_strings, "a list of rule codes"),
    "trust": (_strings, "a list of packages"),
    "fail-on": (lambda v: v in FAIL_ON, f"one of {', '.join(FAIL_ON)}"),
}
"""What the keys that are no facts of the training command may be."""
_PATHS = ("script", "log")
"""Keys whose values are relative to the folder of the file."""
PER_PATH_IGNORES = "per-path-ignores"
LONGEST = 16 << 20
"""Bytes of a pyproject.toml that is still read."""


def keys() -> dict[str, Check]:
    """Keys that the table may have, each the option of that name, with what its value must be."""
    return {**{fact.key: (fact.kind.fits, fact.kind.what) for fact in every_fact().values()}, **_OTHERS}


@record(frozen=True)
class Settings:
    """What a pyproject.toml says."""

    source: Path | None = None
    """The file; None where there is none with our table."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Parameter name (`fail_on`) -> value, `log` relative to the file's folder."""
    per_path_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Glob relative to the file's folder -> codes."""


def use_settings(ctx: click.Context) -> None:
    """Make the settings the defaults of every command.

    Only of those that judge, for the format: what another command prints is read by scripts.
    """
    settings = read_settings(Path.cwd())
    ctx.obj = settings
    others = {name: value for name, value in settings.options.items() if name != "format"}
    judging = {**others, "form": settings.options["format"]} if "format" in settings.options else others
    ctx.default_map = dict.fromkeys(("inspect", "migrate", "latest", "prune"), others)
    ctx.default_map |= dict.fromkeys(("scan", "check", "lint"), judging)


def read_settings(folder: Path) -> Settings:
    """The settings that hold in a folder: those of the first pyproject.toml here or above.

    Raises `UsageError` for a file that is no TOML, an unknown key, a value of the wrong kind.
    """
    path = next((p for p in (f / "pyproject.toml" for f in (folder, *folder.parents)) if p.is_file()), None)
    if path is None:
        return Settings()
    if path.stat().st_size > LONGEST:
        raise UsageError(f"{path} has more than {LONGEST:,} bytes and is not read")
    text = path.read_text(encoding="utf-8", errors="replace")
    if "ckpt-doctor" not in text:
        return Settings()
    return parse(text, path)


def parse(text: str, path: Path) -> Settings:
    """The settings in the text of a pyproject.toml."""
    tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    tool = document.get("tool")
    table = tool.get("ckpt-doctor", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise UsageError(f"{path}: [tool.ckpt-doctor] must be a table")
    options, known = {}, keys()
    for key, value in table.items():
        if key == PER_PATH_IGNORES:
            continue
        if key not in known:
            names = ", ".join((*known, PER_PATH_IGNORES))
            raise UsageError(f"{path}: unknown key {key!r} in [tool.ckpt-doctor]; known: {names}")
        fits, what = known[key]
        if not fits(value):
            raise UsageError(f"{path}: {key} must be {what}, not {value!r}")
        listed = [value] if isinstance(value, str) and fits is _strings else value
        if key in _PATHS:
            listed = [_placed(one, path) for one in listed] if key == "log" else _placed(value, path)
        options[key.replace("-", "_")] = listed
    return Settings(path, options, _ignores(table.get(PER_PATH_IGNORES, {}), path))


def _placed(value: str, settings: Path) -> str:
    """A path that is relative to the folder of the settings; a URL is not."""
    return value if is_url(value) else str(settings.parent / value)


def _ignores(table: object, path: Path) -> dict[str, tuple[str, ...]]:
    if not isinstance(table, dict) or not all(_strings(codes) for codes in table.values()):
        raise UsageError(f"{path}: {PER_PATH_IGNORES} must be a table of glob = [codes], not {table!r}")
    ignores = {glob: (codes,) if isinstance(codes, str) else tuple(codes) for glob, codes in table.items()}
    if ignores:
        from ckpt_doctor.cli.rules import all_rules  # as the options do: only where codes are given

        for code in sorted({code for codes in ignores.values() for code in codes}):
            if not any(selects(code, rule.code, rule.name) for rule in all_rules()):
                raise UsageError(f"{path}: {PER_PATH_IGNORES} names {code!r}, which is not the code or name of a rule")
    return ignores


def silenced() -> Callable[[Finding, Path], bool]:
    """Whether `per-path-ignores` of the settings in force accepts a finding about a file or a run folder.

    Another process can be told it."""
    return partial(is_ignored, settings=click.get_current_context().find_object(Settings) or Settings())


def is_ignored(finding: Finding, path: Path, settings: Settings) -> bool:
    """Whether a glob of `per-path-ignores` matches the path, or a folder that it lies in, and names the finding.

    Codes, their beginnings (`E`) and names count.
    """
    if settings.source is None:
        return False
    whole, root = path.absolute(), settings.source.parent
    relative = whole.relative_to(root) if whole.is_relative_to(root) else whole
    names = [p.as_posix() for p in (relative, *relative.parents)]
    codes = [c for glob, cs in settings.per_path_ignores.items() if any(fnmatch(n, glob) for n in names) for c in cs]
    return any(selects(code, finding.code, finding.name) for code in codes)
