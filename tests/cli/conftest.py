"""Copies of the sample runs, and the program run on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ckpt_doctor.cli.main import app

SAMPLES = Path(__file__).parents[2] / "fixtures" / "sample-runs"


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Copies a sample run (`checkpoints/` and `logs/`), works in the copy from then on, and returns its run folder."""

    def copy(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(SAMPLES / name, folder)
        monkeypatch.chdir(folder)
        return next(Path("checkpoints").iterdir())

    monkeypatch.chdir(tmp_path)
    return copy


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs `ckpt-doctor` with arguments, in a folder that is empty unless a sample was copied."""
    if Path.cwd() == Path(__file__).parents[2]:
        monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call
