"""An archive that was cut: what its beginning still holds."""

from __future__ import annotations

import zipfile

import pytest
import torch

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.repair.salvage import salvage
from tests.readers.torch_equal import equal
from tests.readers.torch_files import load, save, small, training


def test_truncated_everywhere(tmp_path):
    """Cut at any length, an archive gives a finding; once its pickle is whole, also the complete tensors."""
    raw = save(tmp_path / "a", training()).read_bytes()
    whole = open_checkpoint(tmp_path / "a")
    cut = tmp_path / "cut"
    placed = []
    for length in range(4, len(raw) - 1, 23):
        cut.write_bytes(raw[:length])
        checkpoint = open_checkpoint(cut)
        assert "torch-zip" == checkpoint.container
        assert checkpoint.is_damaged("truncated-archive")
        placed.append(sum(tensor.storage.offset is not None for tensor in checkpoint.tensors))
        for ours, theirs in zip(checkpoint.tensors, whole.tensors, strict=False):
            assert ours.storage.offset in (None, theirs.storage.offset)
    assert sorted(placed) == placed
    assert len(whole.tensors) == placed[-1]


def test_an_archive_without_its_end_record(tmp_path):
    """A bit in the end record makes torch.load refuse the whole archive; salvage gives every tensor back."""
    raw = bytearray(small(tmp_path / "a"))
    original = load(tmp_path / "a")
    raw[raw.rindex(b"PK\x06\x06") + 16] ^= 1
    (tmp_path / "b").write_bytes(raw)
    with pytest.raises(RuntimeError):
        load(tmp_path / "b")
    assert open_checkpoint(tmp_path / "b").is_damaged("truncated-archive")
    assert () == salvage(tmp_path / "b", tmp_path / "out").lost
    assert equal(original["model"]["w"], torch.load(tmp_path / "out", weights_only=True)["model"]["w"])


@pytest.mark.parametrize(("method", "first"), [(zipfile.ZIP_DEFLATED, "data.pkl"), (zipfile.ZIP_STORED, "data/0")])
def test_a_cut_archive_that_a_zip_program_packed_is_not_given_up(method, first, tmp_path):
    """Its records are all there, only not where torch puts them: another program may mend it, and is named."""
    source = save(tmp_path / "a", training())
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "b", "w", method) as new:
        for name in sorted(old.namelist(), key=lambda name: not name.endswith(first)):
            new.writestr(name, old.read(name))
    (tmp_path / "b").write_bytes((tmp_path / "b").read_bytes()[:-60])
    (damage,) = (d for d in open_checkpoint(tmp_path / "b").damage if d.kind == "truncated-archive")
    assert "zip -FF" in damage.message
    assert "nothing can be recovered" not in damage.message
