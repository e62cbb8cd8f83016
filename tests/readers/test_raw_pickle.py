"""Pickles that no `torch.save` wrapped are read as checkpoints."""

from __future__ import annotations

import pickle

import pytest
import torch

from ckpt_doctor.readers import open_checkpoint
from tests.readers.torch_equal import bits, read_tensor


@pytest.mark.parametrize("protocol", range(6))
def test_bare_pickles(tmp_path, protocol):
    """`pickle.dump` of a state dict, any protocol: the tensors' storages are streams inside the pickle."""
    path = tmp_path / "model.pkl"
    value = {"model": {"w": torch.arange(6.0).reshape(2, 3)}, "epoch": 3}
    path.write_bytes(pickle.dumps(value, protocol))
    checkpoint = open_checkpoint(path)
    assert "pickle" == checkpoint.container
    assert [("model.w", "float32", (2, 3))] == [(t.name, t.dtype, t.shape) for t in checkpoint.tensors]
    assert 3 == checkpoint.get("epoch")
    if protocol >= 3:  # below, bytes are spelled as text
        assert bits(value["model"]["w"]) == read_tensor(checkpoint, checkpoint.tensors[0])
