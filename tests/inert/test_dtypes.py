"""Names and sizes of torch's element types."""

from __future__ import annotations

import struct

import pytest
import torch

from ckpt_doctor.inert.dtypes import ITEM_SIZES, STORAGE_DTYPES, STRUCT_CODES, item_size, of_storage_class
from ckpt_doctor.readers import open_checkpoint
from tests.readers.torch_files import save


def test_packed_quantized_elements(tmp_path):
    """Two to a byte, while the shape counts each."""
    value = torch.quantize_per_channel(torch.randn(4, 8), torch.rand(4) + 0.1, torch.zeros(4), 0, torch.quint4x2)
    checkpoint = open_checkpoint(save(tmp_path / "a", {"w": value}))
    assert () == checkpoint.damage
    assert 16 == next(tensor.nbytes for tensor in checkpoint.tensors)


def test_every_element_type_of_torch_has_torchs_size():
    types = {str(kind).removeprefix("torch."): kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)}
    assert {} == {name: kind.itemsize for name, kind in types.items() if ITEM_SIZES.get(name) != kind.itemsize}


def test_an_unknown_type_counts_as_bytes():
    assert 1 == item_size("float128_of_tomorrow")


def test_storage_classes_are_torchs():
    """The persistent id of a typed storage names a class."""
    theirs = {
        name: str(kind).removeprefix("torch.") for kind, name in torch.storage._dtype_to_storage_type_map().items()
    }
    assert theirs == {name: STORAGE_DTYPES[name] for name in theirs}
    assert all(of_storage_class(name) == kind for name, kind in theirs.items())


@pytest.mark.parametrize("dtype", STRUCT_CODES)
def test_codes_of_pythons_struct_have_the_same_size(dtype):
    assert ITEM_SIZES[dtype] == struct.calcsize(f"<{STRUCT_CODES[dtype]}")
