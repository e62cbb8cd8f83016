"""A copy of a run to repair."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.repair.repairs import SAMPLES


@pytest.fixture
def run(tmp_path) -> Path:
    """A copy of a run of the complete trainer in TST mode; its log stands beside it."""
    shutil.copytree(SAMPLES / "complete-TST", tmp_path / "copy")
    return next((tmp_path / "copy" / "checkpoints").iterdir())


@pytest.fixture
def step(run) -> Path:
    """A step checkpoint whose schedule lags."""
    return run / "checkpoint_step_140" / "checkpoint.pt"
