"""The bytes of a tensor come in pieces of any size, however its elements lie in the file."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor.readers import statistics
from tests.readers.test_statistics import agree, of
from tests.readers.torch_files import rezip, save


def test_views_in_any_layout(tmp_path) -> None:
    """Slices, transpositions, steps and repetitions of one storage: each its own elements."""
    base = torch.randn(40, 50, generator=torch.manual_seed(1))
    tensors = {
        "whole": base,
        "turned": base.t(),
        "rows": base[3:17],
        "columns": base[:, 5:9],
        "stepped": base[::3, ::7],
        "repeated": base[:1].expand(6, 50),
        "one": base[2, 3],
        "none": base[:0],
        "many dimensions": base[::3, ::7][(None,) * 50],
        "repeated often": base[0, :2].as_strided((2,) * 18, (0,) * 17 + (1,)),
    }
    found = of(save(tmp_path / "a", tensors))
    for name, tensor in tensors.items():
        agree(found[name], tensor)


@pytest.mark.parametrize("chunk", [7, 1000, 1 << 16])
def test_pieces_of_any_size_and_packed_records(tmp_path, monkeypatch, chunk) -> None:
    tensors = {"w": torch.randn(999, generator=torch.manual_seed(2)), "strided": torch.randn(64, 9).t()[::2]}
    path = save(tmp_path / "a", tensors)
    packed = rezip(path, tmp_path / "b", compression=8)
    monkeypatch.setattr("ckpt_doctor.readers.regions.CHUNK", chunk)
    monkeypatch.setattr(statistics, "_FEW", 10)
    for file in (path, packed):
        found = of(file)
        for name, tensor in tensors.items():
            agree(found[name], tensor)


def test_numbers_of_another_byte_order(tmp_path) -> None:
    tensor = torch.randn(50)

    def swapped(name, data):
        if name == "byteorder":
            return b"big"
        return tensor.numpy().astype(">f4").tobytes() if name == "data/0" else data

    agree(of(rezip(save(tmp_path / "a", {"w": tensor}), tmp_path / "b", change=swapped))["w"], tensor)


def test_a_view_of_more_dimensions_than_numpy_has_is_said(tmp_path) -> None:
    """Every other one repeats, so that no two are one: 4 billion elements of a file that may be large but empty."""
    shape, stride = (2,) * 32, tuple(i % 2 for i in range(32))
    path = save(tmp_path / "a", {"w": torch.ones(40).as_strided(shape, stride)})
    assert "too many dimensions" in of(path)["w"]
