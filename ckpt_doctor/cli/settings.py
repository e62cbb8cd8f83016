"""`[tool.ckpt-doctor]` of the nearest pyproject.toml: defaults for options, and rules to ignore under some paths."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from ckpt_doctor.errors import UsageError
from ckpt_doctor.types import Finding, Report

OPTIONS = (
    "steps-per-epoch",
    "train-epochs",
    "lradj",
    "learning-rate",
    "pct-start",
    "patience",
    "world-size",
    "log",
    "deep",
    "format",
    "select",
    "ignore",
    "fail-on",
)
"""Keys that the table may have; each is the option of that name."""
PER_PATH_IGNORES = "per-path-ignores"


@dataclass(frozen=True)
class Settings:
    """What a pyproject.toml says."""

    source: Path | None = None
    """The file; None where there is none with our table."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Parameter name (`fail_on`) -> value, `log` relative to the file's folder."""
    per_path_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Glob relative to the file's folder -> codes."""


def use_settings(ctx: click.Context) -> None:
    """Make the settings the defaults of every command."""
    settings = read_settings(Path.cwd())
    ctx.obj = settings
    ctx.default_map = dict.fromkeys(("scan", "check", "migrate", "latest", "prune", "lint"), settings.options)


def read_settings(folder: Path) -> Settings:
    """The settings that hold in a folder: those of the first pyproject.toml here or above.

    Raises `UsageError` for a file that is no TOML, an unknown key, a value of the wrong kind.
    """
    path = next((p for p in (f / "pyproject.toml" for f in (folder, *folder.parents)) if p.is_file()), None)
    if path is None:
        return Settings()
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
    table = document.get("tool", {}).get("ckpt-doctor", {})
    if not isinstance(table, dict):
        raise UsageError(f"{path}: [tool.ckpt-doctor] must be a table")
    for key in table:
        if key not in (*OPTIONS, PER_PATH_IGNORES):
            raise UsageError(f"{path}: unknown key {key!r} in [tool.ckpt-doctor]; known: {', '.join(OPTIONS)}")
    options = {key.replace("-", "_"): _value(key, value, path) for key, value in table.items() if key in OPTIONS}
    ignores = table.get(PER_PATH_IGNORES, {})
    if not isinstance(ignores, dict):
        raise UsageError(f"{path}: {PER_PATH_IGNORES} must be a table of glob = [codes]")
    return Settings(path, options, {glob: tuple(_strings(PER_PATH_IGNORES, v, path)) for glob, v in ignores.items()})


def _value(key: str, value: object, path: Path) -> object:
    if key == "log":
        return [str(path.parent / log) for log in _strings(key, value, path)]
    if key in ("select", "ignore"):
        return _strings(key, value, path)
    if key == "deep" and not isinstance(value, bool):
        raise UsageError(f"{path}: {key} must be true or false, not {value!r}")
    if isinstance(value, (list, dict)):
        raise UsageError(f"{path}: {key} must be a single value, not {value!r}")
    return value


def _strings(key: str, value: object, path: Path) -> list[str]:
    values = value if isinstance(value, list) else [value]
    strings = [v for v in values if isinstance(v, str)]
    if len(strings) < len(values):
        raise UsageError(f"{path}: {key} must be a list of strings, not {value!r}")
    return strings


def without_ignored(report: Report, settings: Settings) -> Report:
    """The report without the findings that `per-path-ignores` silences; verdicts follow, as with `--ignore`."""
    if not settings.per_path_ignores:
        return report
    from ckpt_doctor.audit import verdict_of

    runs = []
    for run in report.runs:
        files = []
        for file in run.files:
            findings = _kept(file.findings, file.checkpoint.path, settings)
            files.append(replace(file, findings=findings, verdict=verdict_of(findings)))
        runs.append(replace(run, files=tuple(files), findings=_kept(run.findings, run.run.path, settings)))
    return replace(report, runs=tuple(runs))


def _kept(findings: Sequence[Finding], path: Path, settings: Settings) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if not is_ignored(finding, path, settings))


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
    return any(finding.code.startswith(code) or finding.name == code for code in codes)
