"""The bytes of a tensor are read from where its checkpoint says they are, and from nowhere else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.tensor_bytes import read_tensor
from tests.readers.strategies import tensors
from tests.readers.torch_equal import bits
from tests.readers.torch_files import save


@settings(max_examples=80)
@given(st.lists(tensors(), max_size=4), st.booleans())
def test_tensor_bytes_are_found(tmp_path_factory, given_tensors, zipped):
    """The bytes of every contiguous tensor can be read from where the checkpoint says they are."""
    path = tmp_path_factory.mktemp("bytes") / "file"
    try:
        save(path, given_tensors, zipped)
    except (RuntimeError, KeyError, AttributeError):
        return
    checkpoint = open_checkpoint(path)
    for index, tensor in enumerate(given_tensors):
        raw = read_tensor(checkpoint, checkpoint.root[index])
        if tensor.is_contiguous() and tensor.numel():
            assert bits(tensor) == raw
