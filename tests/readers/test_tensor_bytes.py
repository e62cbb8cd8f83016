"""The bytes of a tensor are read from where its checkpoint says they are, and from nowhere else."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.storage_bytes import StorageReader
from ckpt_doctor.readers.tensor_bytes import read_scalars
from tests.readers.strategies import tensors
from tests.readers.torch_equal import bits, read_tensor
from tests.readers.torch_files import rezip, save


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


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "bfloat16", "int64", "int8", "uint8", "bool"])
def test_one_number_is_read_as_torch_reads_it(tmp_path, kind):
    number = torch.tensor([-1.5]).to(getattr(torch, kind))
    checkpoint = open_checkpoint(save(tmp_path / "a", {"step": number, "more": torch.ones(2)}))
    assert [number.item()] == read_scalars(checkpoint, checkpoint.tensors[:1])
    assert [number.item(), None] == read_scalars(checkpoint, list(checkpoint.tensors))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.int32])
def test_a_number_of_a_big_endian_file_is_read_in_its_order(tmp_path, kind):
    number = torch.tensor([2.5]).to(kind)

    def change(name, data):
        return b"big" if name == "byteorder" else data[::-1] if name == "data/0" else data

    checkpoint = open_checkpoint(rezip(save(tmp_path / "a", {"x": number}), tmp_path / "b", change))
    assert [number.item()] == read_scalars(checkpoint, checkpoint.tensors[:1])


@pytest.mark.parametrize(("weights", "expected"), [(10, [3.0, 4.0]), (10_000, [None, None])])
def test_the_numbers_of_a_small_file_come_along_with_it(tmp_path, weights, expected):
    """A second look at the file would find it gone; two numbers may share a storage."""
    path = save(tmp_path / "a", {"weights": torch.ones(weights), "steps": list(torch.tensor([3.0, 4.0]))})
    checkpoint = open_checkpoint(path)
    path.unlink()
    assert expected == read_scalars(checkpoint, checkpoint.tensors[1:])


def test_a_random_state_is_its_bytes(tmp_path):
    state = torch.get_rng_state()
    checkpoint = open_checkpoint(save(tmp_path / "a", {"rng": state}))
    assert [bytes(state.numpy())] == read_scalars(checkpoint, checkpoint.tensors[:1])


def test_what_cannot_be_had_is_none_and_never_other_bytes(tmp_path):
    """Too many, not one behind the other, beyond the record; of a file that changed or went meanwhile none at all."""
    base = torch.arange(6.0).reshape(2, 3)
    path = save(tmp_path / "a", {"whole": base, "turned": base.t(), "row": base[1]})
    checkpoint = open_checkpoint(path)
    whole, turned, row = checkpoint.tensors
    assert base.numpy().tobytes() == read_tensor(checkpoint, whole, limit=24)
    assert base[1].numpy().tobytes() == read_tensor(checkpoint, row)
    assert read_tensor(checkpoint, whole, limit=23) is None
    assert read_tensor(checkpoint, turned) is None
    os.utime(path, (1, 1))
    assert read_tensor(checkpoint, whole) is None
    path.unlink()
    assert read_tensor(checkpoint, whole) is None


def test_of_a_record_that_is_too_short_nothing_is_read_and_of_the_next_one_all(tmp_path):
    """Behind it lie the bytes of another tensor, which are no part of this one: neither a step nor a weight."""
    whole = save(tmp_path / "a", {"step": torch.tensor(7.0), "w": torch.ones(3), "next": torch.full((3,), 2.0)})
    short = {"data/0": b"", "data/1": b"1234"}
    checkpoint = open_checkpoint(rezip(whole, tmp_path / "b", lambda name, data: short.get(name, data)))
    step, weight, behind = checkpoint.tensors
    assert [None, None] == [read_tensor(checkpoint, step), read_tensor(checkpoint, weight)]
    assert [None] == read_scalars(checkpoint, [step])
    assert bits(torch.full((3,), 2.0)) == read_tensor(checkpoint, behind)
    with StorageReader(checkpoint) as reader:
        assert ["its bytes are not in the file"] * 2 + [""] == [reader.lacks(one) for one in checkpoint.tensors]
