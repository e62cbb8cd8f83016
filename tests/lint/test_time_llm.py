"""The trainer's own scripts, in three generations: what is reported of each, to the line.

The scripts in `time_llm/` keep the structure of https://github.com/KimMeen/Time-LLM and of the patches to it; the
marks in them are the findings.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt_doctor.lint import lint
from tests.lint.sources import found, marked

TIME_LLM = Path(__file__).parent / "time_llm"
SCRIPTS = sorted(TIME_LLM.glob("*/run_*.py"))
GENERATIONS = ("public", "first_patch", "complete")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_repository_is_told_what_is_wrong_once_in_the_file_that_holds_it(generation: str) -> None:
    reports = lint([TIME_LLM / generation])
    files = sorted((TIME_LLM / generation).rglob("*.py"))
    assert [marked([file]) for file in files] == [found(r.findings) for r in sorted(reports, key=lambda r: r.path)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_script_alone_is_told_the_same(script: Path) -> None:
    (report,) = lint([script])
    assert marked([script]) == found(f for f in report.findings if f.path == script)


def test_the_helpers_of_a_script_are_read_with_it() -> None:
    folder = TIME_LLM / "first_patch"
    (report,) = lint([folder / "run_main.py"])
    tools = folder / "utils" / "tools.py"
    assert marked([tools]) == found(f for f in report.findings if f.path == tools)
