"""A finished checkpoint is judged for what loading it would run."""

from __future__ import annotations

import os
import zipfile

import torch
from safetensors.torch import save_file

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


def test_a_name_that_promises_another_container_is_told_first(tmp_path):
    """`.safetensors` alone promises one."""
    path = save(tmp_path / "model.safetensors", {"w": torch.ones(2)})
    assert ["name-mismatch"] == [damage.kind for damage in open_checkpoint(path).damage]
    save_file({"w": torch.ones(2)}, tmp_path / "model.bin")
    assert () == open_checkpoint(tmp_path / "model.bin").damage


def test_what_was_read_is_counted_and_the_file_known_again(tmp_path):
    path = save(tmp_path / "a", {"w": torch.ones(300_000)})
    checkpoint = open_checkpoint(path)
    assert path.stat().st_size == checkpoint.size > 20 * checkpoint.bytes_read > 0
    assert checkpoint.stamp == open_checkpoint(path).stamp
    os.utime(path, (1, 1))
    assert checkpoint.stamp != open_checkpoint(path).stamp
