"""What several test files of the readers start from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file


@pytest.fixture
def canary(tmp_path):
    """A path that must not exist after the test."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A checkpoint as a trainer saves it, with files that are none of its parts."""
    path = tmp_path / "checkpoint-7"
    path.mkdir()
    save_file({"w": torch.ones(2, 2)}, path / "model.safetensors")
    torch.save({"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"lr": 0.1}]}, path / "optimizer.pt")
    torch.save({"last_epoch": 7}, path / "scheduler.pt")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": 7}))
    (path / "config.json").write_text("{}")
    (path / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")
    return path
