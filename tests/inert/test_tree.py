"""Trees of inert values: one walk for all that look through them, comparison, and copies with changes."""

from __future__ import annotations

from typing import Any

import pytest

from ckpt_doctor.inert.tree import items, path_of, same, transform, walk
from ckpt_doctor.types import Global, InertDict, Opaque


@pytest.mark.parametrize(
    ("left", "right"),
    [([1], [1.0]), ([True], [1]), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([0.0], [-0.0]), ([[1], [1]], [(s := [1]), s])],
)
def test_differences_are_found(left, right):
    """Type, order, sign and sharing count."""
    assert same(left, right) is not None
    assert same(left, left) is None


def test_containers_come_once_in_document_order():
    """A list that two keys share is looked into by the first; a cycle ends."""
    shared = [{"x": {}}]
    root = {"a": shared, "b": [shared, 1, "text"]}
    shared.append(root)
    assert [(), ("a",), ("a", 0), ("a", 0, "x"), ("b",)] == [path_of(step) for _, step in walk(root, items)]


def test_what_lies_too_deep_is_not_looked_into():
    """At `deepest` steps down a container comes, and nothing in it."""
    assert [(), (0,), (0, 0)] == [path_of(step) for _, step in walk([[[[1]]]], items, deepest=2)]


def test_the_first_difference_is_named_by_its_place():
    assert "[1]['a']" in (same([0, {"a": 1}], [0, {"a": 2}]) or "")


def test_a_copy_has_the_sharing_and_the_cycles_of_the_original():
    shared: list[Any] = [1]
    ring: dict[str, Any] = {"x": shared, "y": (shared, shared)}
    ring["self"] = ring
    copy: Any = transform(ring, lambda value: value)
    assert copy is not ring and copy["self"] is copy
    assert copy["x"] is copy["y"][0] is copy["y"][1] is not shared


def test_what_a_change_returns_is_taken_as_it_is():
    """It is not looked into, and every place of the original gets the same object."""
    old, new = [1], [[2]]
    copy: Any = transform({"a": old, "b": (old,)}, lambda value: new if value is old else value)
    assert copy["a"] is new and copy["b"][0] is new


def test_a_call_and_its_items_are_copied():
    call = InertDict(Opaque(Global("collections", "OrderedDict"), ()))
    call["w"] = [1]
    call.source.states.append({"_metadata": {}})
    copy: Any = transform(call, lambda value: value)
    copy["w"].append(2)
    copy.source.states[0]["_metadata"]["v"] = 1
    assert {"w": [1]} == call and [{"_metadata": {}}] == call.source.states
