"""Runs of the Trainer: one without a best model, and one that keeps it and waits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.trainers.hf_trainer.runs import BEST, LOSSES, Writer


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both runs, each in a folder of the name that its states have."""
    folder = tmp_path_factory.mktemp("hf")
    Writer(folder / "plain/run").write(7, 14, 21)
    Writer(folder / "best/run", BEST, LOSSES, patience=3).write(5, 10, 15, 20)
    return folder


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written / "plain/run", tmp_path / "run"))


@pytest.fixture
def best_run(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written / "best/run", tmp_path / "run"))
