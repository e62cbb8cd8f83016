"""One walk for all that look through what a pickle built: every place, no object over and over."""

from __future__ import annotations

from ckpt_doctor.inert.numpy_values import numpy_values
from ckpt_doctor.inert.tensor_list import walk_tensors
from ckpt_doctor.inert.tree import items, path_of, walk
from ckpt_doctor.types import Global, NumpyScalar, Opaque, StorageInfo, TensorRef


def number(value: float) -> NumpyScalar:
    return NumpyScalar(value, "float64", Opaque(Global("numpy", "scalar"), ()))


def tensor() -> TensorRef:
    storage = StorageInfo("0", "float32", "cpu", 1, 4, 0)
    return TensorRef(storage, "float32", (1,), (1,), 0, False, Opaque(Global("torch._utils", "_rebuild_tensor_v2"), ()))


def test_containers_come_once_in_document_order():
    """A list that two keys share is looked into by the first; a cycle ends."""
    shared = [{"x": {}}]
    root = {"a": shared, "b": [shared, 1, "text"]}
    shared.append(root)
    assert [(), ("a",), ("a", 0), ("a", 0, "x"), ("b",)] == [path_of(step) for _, step in walk(root, items)]


def test_what_lies_too_deep_is_not_looked_into():
    """At `deepest` steps down a container comes, and nothing in it."""
    assert [(), (0,), (0, 0)] == [path_of(step) for _, step in walk([[[[1]]]], items, deepest=2)]


def test_numbers_of_numpy_are_found_in_each_place_that_shares_them():
    """A tuple of two param groups: replaced in one only, the other would still have it."""
    betas = (number(0.9), 0.999)
    found = list(numpy_values([{"betas": betas}, {"betas": betas}]))
    assert [(0, "betas", 0), (1, "betas", 0)] == [value.path for value in found]


def test_a_key_that_no_path_can_name_leads_nowhere():
    """None, as a key, is not the same as no key."""
    assert not list(numpy_values({None: number(1.0), (1, 2): [number(2.0)]}))


def test_shared_containers_do_not_multiply():
    """Thirty lists of two references each to the next one have a billion places, and take no time."""
    value: list[object] = [number(1.0)]
    for _ in range(30):
        value = [value, value]
    assert 0 < len(list(numpy_values(value))) < 100_000


def test_each_tensor_comes_once_by_its_first_path():
    """Tied weights are one tensor."""
    tied = tensor()
    assert [(("a",), tied)] == list(walk_tensors({"a": tied, "b": {"c": tied}}))
