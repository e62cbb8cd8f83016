"""The tensors of a tree: each object once, by its first path; and what the tree is, by where they are."""

from __future__ import annotations

from typing import Any

import torch

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.tensor_list import find_tensors, inner_tensors, is_plain, walk_tensors
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.types import Global, Opaque, StorageInfo, TensorRef
from tests.readers.torch_files import save


def tensor() -> TensorRef:
    storage = StorageInfo("0", "float32", "cpu", 1, 4, 0)
    return TensorRef(storage, "float32", (1,), (1,), 0, False, Opaque(Global("torch._utils", "_rebuild_tensor_v2"), ()))


def test_each_tensor_comes_once_by_its_first_path():
    """Tied weights are one tensor."""
    tied = tensor()
    assert [(("a",), tied)] == list(walk_tensors({"a": tied, "b": {"c": tied}}))


def test_layouts(tmp_path):
    """A bare state_dict, a training checkpoint, anything else."""
    linear = torch.nn.Linear(2, 2)
    for expected, value in [
        ("state-dict", linear.state_dict()),
        ("state-dict", {**linear.state_dict(), "x._extra_state": {"anything": 1}, "version": 2}),
        ("training", {"state_dict": linear.state_dict(), "epoch": 1}),
        ("training", {"model": {}, "epoch": 1, "global_step": 0}),
        ("other", {"model": linear.state_dict()}),
        ("other", {"epoch": 1}),
        ("other", [torch.zeros(2)]),
        ("other", linear),
        ("other", {}),
    ]:
        path = tmp_path / "file"
        assert expected == open_checkpoint(save(path, value)).layout


def test_pickled_module(tmp_path):
    """A whole module's tensors are found and named as its parameters are."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.BatchNorm1d(2)))
    checkpoint = open_checkpoint(save(tmp_path / "f", model))
    assert list(model.state_dict()) == [tensor.name for tensor in checkpoint.tensors]


def test_tensors_of_lazy_modules_and_as_keys(tmp_path):
    """Parameters that wait for their first batch are tensors without bytes; a dict may have tensors for keys."""
    lazy = open_checkpoint(save(tmp_path / "a", torch.nn.LazyLinear(4).state_dict()))
    assert ["weight", "bias"] == [tensor.name for tensor in lazy.tensors]
    assert ("state-dict", 0) == (lazy.layout, sum(tensor.nbytes for tensor in lazy.tensors))
    keyed = open_checkpoint(save(tmp_path / "b", {torch.ones(3): torch.ones(2)}))
    assert [(3,), (2,)] == [tensor.shape for tensor in keyed.tensors]


def test_nesting_that_is_not_searched_is_told_once():
    deep: Any = [tensor()]
    for _ in range(limits.MAX_DEPTH + 1):
        deep = [deep]
    found = find_tensors({"a": tensor(), "b": deep, "c": deep})
    assert [("a",)] == [info.path for info in found.all]
    assert ["limit-exceeded"] == [damage.kind for damage in found.damage]


def test_a_tensor_beyond_its_storage_is_told():
    """`torch.load` raises for it; one whose last element just fits is whole."""
    whole, beyond = tensor(), tensor()
    beyond.storage_offset = 1
    found = find_tensors({"whole": whole, "beyond": beyond})
    assert [("missing-record", "beyond", 4, 8)] == [(d.kind, d.where, d.found, d.expected) for d in found.damage]


def test_what_a_sparse_tensor_is_made_of_has_names(tmp_path):
    """Its indices have bytes of their own, which no entry of the list stands for."""
    checkpoint = open_checkpoint(
        save(tmp_path / "a", {"s": torch.eye(3).to_sparse(), "r": torch.eye(3).to_sparse_csr()})
    )
    parts = {key: [name for name, _ in inner_tensors(checkpoint.root[key])] for key in ("s", "r")}
    assert {
        "s": [("indices",), ("values",)],
        "r": [("compressed_indices",), ("plain_indices",), ("values",)],
    } == parts
    assert not is_plain(checkpoint.root["s"])


def test_a_view_of_one_storage_is_plain_and_a_quantized_tensor_is_not(tmp_path):
    base = torch.arange(6.0)
    value = {
        "view": base[::2],
        "parameter": torch.nn.Parameter(base),
        "q": torch.quantize_per_tensor(base, 0.1, 0, torch.qint8),
    }
    root = open_checkpoint(save(tmp_path / "a", value)).root
    assert {"view": True, "parameter": True, "q": False} == {key: is_plain(item) for key, item in root.items()}
