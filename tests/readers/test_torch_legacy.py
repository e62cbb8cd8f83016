"""The stream that torch wrote before 1.6: known by its magic number, and each of its pickles is looked into."""

from __future__ import annotations

import pickle

import pytest
import torch

from ckpt_doctor import scan
from ckpt_doctor.readers import open_checkpoint
from tests.readers.attacks import Payload, dangerous
from tests.readers.torch_equal import bits, read_tensor
from tests.readers.torch_files import LEGACY, load, small


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_legacy_stream_of_any_protocol(tmp_path, protocol):
    """The magic number is recognised however it is pickled."""
    path = tmp_path / "f"
    torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    checkpoint = open_checkpoint(path)
    assert "torch-legacy" == checkpoint.container
    assert bits(torch.ones(3)) == read_tensor(checkpoint, checkpoint.tensors[0])


def test_every_pickle_of_a_legacy_stream(tmp_path, canary):
    """A payload in the magic number, the protocol, the system information, the keys."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    rest = [pickle.dumps(1001, 2), pickle.dumps({}, 2), pickle.dumps({}, 2), pickle.dumps([], 2)]
    payload = pickle.dumps(Payload(canary), 2)
    for place in range(4):
        parts = [magic, *rest]
        parts[place + 1] = payload
        path = tmp_path / f"legacy{place}"
        path.write_bytes(b"".join(parts))
        assert ["posix.system"] == dangerous(path)
    # before the number itself: run, popped, and the right number left on the stack
    hidden = payload[:-1] + b"0" + magic[2:]
    (tmp_path / "hidden").write_bytes(b"".join([hidden, *rest]))
    assert ["posix.system"] == dangerous(tmp_path / "hidden")
    assert "torch-legacy" == open_checkpoint(tmp_path / "hidden").container


@pytest.mark.parametrize("flip", range(3, 13))
def test_a_stream_whose_magic_number_is_another_is_not_ok(tmp_path, flip):
    """Nor is it another format: its tensors are still listed, and none of its pickles goes unexamined."""
    raw = bytearray(small(tmp_path / "a", LEGACY))
    raw[flip] ^= 1
    (tmp_path / "b").write_bytes(raw)
    with pytest.raises((RuntimeError, EOFError, pickle.UnpicklingError)):
        load(tmp_path / "b")
    (file,) = scan([tmp_path / "b"]).files
    assert ("torch-legacy", "broken") == (file.checkpoint.container, file.verdict)
