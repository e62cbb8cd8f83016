"""Persistent ids: the storages of a file's tensors, and what views share."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor.inert.pickle_machine import Reading
from ckpt_doctor.inert.storages import torch_storage
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.types import Global, Opaque, StorageInfo
from tests.readers.torch_files import LEGACY, load, save


def test_shared_storages_and_parameters(tmp_path):
    """Views share a storage; a Parameter is one tensor; the same object at two paths counts once."""
    base = torch.zeros(10)
    parameter = torch.nn.Parameter(torch.zeros(3))
    checkpoint = open_checkpoint(save(tmp_path / "f", {"a": base[:4], "b": base[4:], "p": parameter, "q": parameter}))
    assert ["a", "b", "p"] == [tensor.name for tensor in checkpoint.tensors]
    first, second, _ = checkpoint.tensors
    assert first.storage == second.storage
    assert 4 == second.storage_offset
    assert checkpoint.root["p"] is checkpoint.root["q"]
    assert checkpoint.root["p"].is_parameter


def test_types_that_a_legacy_stream_cannot_carry(tmp_path):
    """torch.save writes them all the same, and torch.load raises: a finding, not an "ok"."""
    path = save(tmp_path / "a", {"w": torch.ones(3).to(torch.float8_e5m2)}, LEGACY)
    with pytest.raises(AttributeError):
        load(path)
    assert ["malformed-pickle"] == [damage.kind for damage in open_checkpoint(path).damage]


HALF = Global("torch", "HalfStorage")


def test_a_storage_is_what_its_persistent_id_says():
    """Type, place, elements; its bytes begin where the container says that the key's record lies."""
    reading = Reading()
    load = torch_storage({"inner/7": 640}, "inner/")
    storage = load(reading, ("storage", HALF, "7", "cuda:1", 10))
    assert StorageInfo("inner/7", "float16", "cuda:1", 10, 20, 640) == storage
    assert load(reading, ("storage", HALF, "7", "cuda:1", 10)) is storage
    assert {"inner/7": storage} == reading.storages


def test_bytes_of_python_2_are_read_as_text():
    storage = torch_storage()(Reading(), (b"storage", HALF, b"7", b"cpu", 1, None))
    assert isinstance(storage, StorageInfo) and ("7", "cpu") == (storage.key, storage.location)


def test_a_view_is_cut_out_of_its_storage():
    """Before torch 1.5 the id says which elements: (its key, first element, number of elements)."""
    reading = Reading()
    view = torch_storage({"7": 640})(reading, ("storage", HALF, "7", "cpu", 10, ("8", 4, 6)))
    assert StorageInfo("7", "float16", "cpu", 6, 12, 648) == view
    assert reading.has_views and 20 == reading.storages["7"].nbytes


@pytest.mark.parametrize(
    "pid",
    [
        None,
        "a text",
        ("storage", HALF, "7", "cpu"),
        ("module", HALF, "7", "cpu", 1),
        ("storage", HALF, "7", "cpu", -1),
        ("storage", HALF, "7", "cpu", 1 << 63),
        ("storage", HALF, "7", "cpu", True),
        ("storage", HALF, "7", 0, 1),
        ("storage", "HalfStorage", "7", "cpu", 1),
        ("storage", HALF, "7", "cpu", 10, ("8", 5, 6)),
        ("storage", HALF, "7", "cpu", 10, ("8", -1, 6)),
        ("storage", HALF, "7", "cpu", 10, 3),
    ],
)
def test_any_other_id_stays_what_the_file_says(pid):
    """A recorded call; damage only where the loader takes nothing but storages."""
    for only in (False, True):
        reading = Reading()
        value = torch_storage(only=only)(reading, pid)
        assert isinstance(value, Opaque) and ("persid", pid) == (value.via, value.args)
        told = only and not (isinstance(pid, tuple) and pid[0] == "module")
        assert ["malformed-pickle"] * told == [damage.kind for damage in reading.damage]


def test_a_class_of_storage_that_torch_does_not_have_is_told():
    reading = Reading()
    torch_storage()(reading, ("storage", Global("torch", "QuadStorage"), "7", "cpu", 1))
    assert ["storage 7"] == [damage.where for damage in reading.damage]
