"""A finished checkpoint is judged for what loading it would run."""

from __future__ import annotations

import zipfile

import torch

from ckpt_doctor.readers import open_checkpoint
from tests.readers.torch_files import load, rezip, save


def test_healthy_files_raise_no_suspicion(tmp_path):
    """torch's own archives, repacked ones and modules: no conflict, nothing dangerous."""
    value = {"net": torch.nn.Linear(2, 2), "w": torch.ones(3)}
    source = save(tmp_path / "a", value)
    assert torch.equal(value["w"], load(source)["w"])
    for path, more in (
        (source, []),
        (rezip(source, tmp_path / "b", compression=zipfile.ZIP_DEFLATED), ["compressed-records"]),
        (save(tmp_path / "c", value, False), []),
    ):
        assert [*more, "not-weights-only"] == [damage.kind for damage in open_checkpoint(path).damage]
