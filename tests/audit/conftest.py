"""A damaged copy of a sample run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt_doctor.audit.opening import open_file


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
