"""Small repositories written as one text, with the findings they call for marked at the line."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from ckpt_doctor.lint import ScriptReport, lint
from ckpt_doctor.lint.library import Library
from ckpt_doctor.lint.module import Module
from ckpt_doctor.lint.program import Program
from ckpt_doctor.types import Located

_FILE = re.compile(r"^ *### (\S+)\n", re.MULTILINE)
_MARK = re.compile(r"# <- (X\d+)( info)?")


def write(folder: Path, text: str) -> list[Path]:
    """Write the files of a text, in which `### name.py` begins a file and what stands before the first is `run.py`."""
    parts = _FILE.split(text)
    names = ["run.py", *parts[1::2]]
    written = []
    for name, body in zip(names, parts[0::2], strict=True):
        if body.strip():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(body).lstrip("\n"))
            written.append(path)
    return written


def marked(paths: list[Path]) -> list[str]:
    """`run.py:3 X901` for each mark `# <- X901`; one of severity info ends in ` info`."""
    return sorted(
        f"{path.name}:{number} {code}{info}"
        for path in paths
        for number, line in enumerate(path.read_text().split("\n"), 1)
        for code, info in _MARK.findall(line)
    )


def found(findings: Iterable[Located]) -> list[str]:
    """Findings in the form of `marked`."""
    return sorted(
        f"{f.path.name}:{f.line} {f.finding.code}" + (" info" if f.finding.severity == "info" else "") for f in findings
    )


def expected_and_actual(folder: Path, text: str) -> tuple[list[str], list[str]]:
    """The findings that a text is marked with, and those of linting its `run.py`."""
    paths = write(folder, text)
    (report,) = lint(paths[:1])
    return marked(paths), found(report.findings)


def cases(texts: Mapping[str, str]) -> dict[str, object]:
    """Arguments of `pytest.mark.parametrize` for named texts."""
    return {"argnames": "text", "argvalues": texts.values(), "ids": texts.keys()}


def judged(texts: Mapping[str, str]) -> Callable[..., None]:
    """A test of named texts: linting finds in each what it is marked with."""

    @pytest.mark.parametrize(**cases(texts))
    def judge(tmp_path: Path, text: str) -> None:
        expected, actual = expected_and_actual(tmp_path, text)
        assert expected == actual

    return judge


def report_of(path: Path, data: bytes) -> ScriptReport:
    path.write_bytes(data)
    (report,) = lint([path])
    return report


DELETES = 'import shutil\nshutil.rmtree("./checkpoints")\n'


def program_of(folder: Path, text: str) -> Program:
    """What runs when the `run.py` of a text is started."""
    first, *_ = paths = write(folder, text)
    module = Library({path: path for path in paths}).open(first)
    assert isinstance(module, Module), module
    return Program(module)
