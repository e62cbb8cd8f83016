"""Copies of the sample runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt_doctor.audit.opening import open_file

SAMPLES = Path(__file__).parents[2] / "fixtures" / "sample-runs"


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str], Path]:
    """`sample("complete-TST")` copies that run (`checkpoints/` and `logs/`) and returns its run folder."""

    def copy(name: str) -> Path:
        shutil.copytree(SAMPLES / name, tmp_path / name)
        return next((tmp_path / name / "checkpoints").iterdir())

    return copy


@pytest.fixture
def flipped(sample) -> Path:
    """A file of a run in which one bit of a tensor is another, which only reading every byte shows."""
    path = sample("complete-TST") / "checkpoint"
    raw = bytearray(path.read_bytes())
    offset = open_file(path).tensors[0].storage.offset
    assert offset is not None
    raw[offset] ^= 0x40
    path.write_bytes(raw)
    return path
