"""Copies of the sample runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "fixtures" / "sample-runs"


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str], Path]:
    """`sample("complete-TST")` copies that run (`checkpoints/` and `logs/`) and returns its run folder."""

    def copy(name: str) -> Path:
        shutil.copytree(SAMPLES / name, tmp_path / name)
        return next((tmp_path / name / "checkpoints").iterdir())

    return copy
