"""The documents are true: every command in them is run and prints what stands there, every block of code works."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ckpt_doctor import migrate
from ckpt_doctor.cli.main import COMMANDS, app
from ckpt_doctor.cli.settings import parse
from ckpt_doctor.trainers import all_rules

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("refresh", ROOT / "docs" / "refresh.py")
assert _spec is not None
assert _spec.loader is not None
refresh = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(refresh)

DOCUMENTS = refresh.DOCUMENTS
FENCE = re.compile(r"^```([^\n]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path, *languages: str) -> list[str]:
    """The fenced blocks of a document that are in one of these languages."""
    return [text for language, text in FENCE.findall(document.read_text(encoding="utf-8")) if language in languages]


def ids(document: Path) -> str:
    return document.name


MANY_COMMANDS = ("problems.md", "output.md", "repair.md", "rehearsal.md", "automation.md")
"""A process for each command takes seconds. The README's and the other pages' are run by default."""


@pytest.mark.parametrize(
    "document",
    [pytest.param(d, marks=pytest.mark.long) if d.name in MANY_COMMANDS else d for d in DOCUMENTS],
    ids=ids,
)
def test_every_command_prints_what_the_document_shows(document: Path, tmp_path: Path) -> None:
    """`python docs/refresh.py` puts right what is not."""
    shown = document.read_text(encoding="utf-8")
    assert refresh.fixed(refresh.refreshed(document, tmp_path)) == refresh.fixed(shown)


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_block_says_what_it_is(document: Path) -> None:
    """So that none escapes the tests: `sh` is run by .ci/run, named ones by test_trainer_patch, the rest here."""
    known = {"console", "python", "bash", "sh", "toml", "yaml", "text", "bash run script", "python run_main.py"}
    fences = re.findall(r"^```(.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(fences[::2]) <= known
    assert {""} >= set(fences[1::2])


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(d, marks=[] if d.name == "README.md" else [pytest.mark.long])
        for d in DOCUMENTS
        if blocks(d, "python") and d != refresh.CATALOGUE
    ],
    ids=ids,
)
def test_python_blocks_run_in_order(document: Path, tmp_path: Path) -> None:
    """As one program, in the folder that the console blocks have, with nothing on stderr."""
    program = "\n".join(blocks(document, "python"))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=refresh.sandbox(tmp_path),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ("", 0) == (done.stderr, done.returncode)


@pytest.mark.long
@pytest.mark.parametrize("document", [d for d in DOCUMENTS if blocks(d, "bash")], ids=ids)
@pytest.mark.parametrize("resume_from", ["", "demo/complete-COS/checkpoints/{run}/checkpoint_step_75"])
def test_shell_blocks_run_under_strict_bash(document: Path, tmp_path: Path, resume_from: str) -> None:
    """`set -euo pipefail`, at a first start and with a checkpoint to resume from."""
    folder = refresh.sandbox(tmp_path)
    run = next((folder / "demo/complete-COS/checkpoints").iterdir()).name
    migrate([folder / "demo/complete-COS/checkpoints"])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks(document, "bash"))],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RESUME_FROM": resume_from.format(run=run),
        },
        capture_output=True,
        text=True,
    )
    assert 0 == done.returncode, done.stderr


def test_the_settings_in_the_documents_are_accepted() -> None:
    """Each `toml` block is one that `[tool.ckpt-doctor]` takes."""
    found = [text for document in DOCUMENTS for text in blocks(document, "toml")]
    assert found
    for text in found:
        assert parse(text, ROOT / "pyproject.toml").options


def test_links_lead_somewhere() -> None:
    """Every relative link in a document names a file that is there."""
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert "://" in target or (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_readme_names_every_command() -> None:
    """In the order of `--help`, and no other."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Commands\n")[2].partition("\n## ")[0]
    assert list(COMMANDS) == re.findall(r"^\| `(\w+)[ `]", section, re.MULTILINE)


def test_every_option_in_the_documents_exists() -> None:
    """On the command that it stands behind, wherever a document shows a call of `ckpt-doctor`."""
    calls = re.compile(r"ckpt-doctor (\w+)((?: [^\n`|;&)]*)?)")
    checked = 0
    for document in DOCUMENTS:
        for name, rest in calls.findall(document.read_text(encoding="utf-8")):
            command = app.get_command(click.Context(app), name)
            if command is None:
                continue
            options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            own = rest.partition(" -- ")[0]  # behind it comes the training command
            for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", own):
                assert option in options, f"{document.name}: {name} {option}"
                checked += 1
    assert checked > 10


def test_the_catalogue_has_every_rule() -> None:
    """By code and name, each once."""
    text = refresh.CATALOGUE.read_text(encoding="utf-8")
    for rule in all_rules():
        assert 1 == text.count(f"### {rule.code} {rule.name} (")
