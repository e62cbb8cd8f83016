"""The stretches of a file that a deep check reads, in pieces of any size."""

from __future__ import annotations

import zipfile

import pytest
import torch

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.deep import deep_check
from tests.readers.test_deep import deep
from tests.readers.torch_files import rezip, save


def test_chunks_of_any_size(tmp_path, monkeypatch):
    """Records larger than a chunk, chunks that end within a number, deflated records."""
    tensor = torch.zeros(5000)
    tensor[[0, 1023, 1024, 4999]] = float("nan")
    path = save(tmp_path / "a", {"pad": torch.zeros(1, dtype=torch.uint8), "w": tensor})
    packed = rezip(path, tmp_path / "b", compression=8)
    for chunk in (1 << 18, 4096, 1000, 7):
        monkeypatch.setattr("ckpt_doctor.readers.regions.CHUNK", chunk)
        assert {"w": 4} == deep(path).non_finite
        assert {"w": 4} == deep(packed).non_finite
        assert () == deep(packed).damage


@pytest.mark.parametrize("beyond", [0, 1, 100, 16 << 10])
@pytest.mark.parametrize("fill", [b"\0", b"ab"])
def test_compressed_records_around_the_size_of_a_piece(tmp_path, beyond, fill):
    """What zlib still holds when its input has ended belongs to the record, too."""
    value = {"x": torch.frombuffer(bytearray(fill * ((1 << 22) + beyond))[: (1 << 22) + beyond], dtype=torch.uint8)}
    source = save(tmp_path / "a", value)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "b", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    deep = deep_check(open_checkpoint(tmp_path / "b")).deep
    assert ((), frozenset()) == (deep.damage, deep.lost)
