"""Where the names of a scope get their values: every statement that binds one, and none of an inner scope."""

from __future__ import annotations

import ast

import pytest

from ckpt_doctor.lint.bindings import bindings_of, walk_scope


def bound(text: str) -> list[str]:
    """`name kind value` for each name that the text binds."""
    return sorted(
        " ".join([name, binding.kind, *([ast.unparse(binding.value)] if binding.value else [])])
        for name, binding in bindings_of(ast.parse(text))
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = b = f()", ["a assign f()", "b assign f()"]),
        ("a: int = 1", ["a assign 1"]),
        ("a: int", []),
        ("f(a := 1)", ["a assign 1"]),
        ("a += 1", ["a augment 1"]),
        ("for i in range(3): pass", ["i item range(3)"]),
        ("[x for x in items]", ["x item items"]),
        ("with open(p) as f: pass", ["f with open(p)"]),
        ("import os.path, torch as t", ["os import", "t import"]),
        ("from a import b as c", ["c import"]),
        ("def f(): pass\nclass C: pass", ["C def", "f def"]),
        ("try: pass\nexcept E as e: pass", ["e other"]),
        ("self.path = 1; d['x'] = 2", []),
    ],
)
def test_each_way_to_bind_a_name(text: str, expected: list[str]) -> None:
    assert expected == bound(text)


def test_elements_of_an_unpacked_tuple_are_known_where_the_tuple_is() -> None:
    assert ["a assign 1", "b assign 2"] == bound("a, b = 1, 2")
    assert ["a other f()", "b other f()", "c other f()"] == bound("a, (b, *c) = f()")
    assert [] == bound("self.x, d[i] = f()")


def test_parameters_are_bound_with_their_defaults() -> None:
    (function,) = ast.parse("def f(a, b=1, *c, d=2, **e): g = 3").body
    found = {name: binding.value and ast.unparse(binding.value) for name, binding in bindings_of(function)}
    assert {"a": None, "b": "1", "c": None, "d": "2", "e": None, "g": "3"} == found


def test_what_an_inner_scope_binds_is_its_own() -> None:
    text = "def f():\n    inner = 1\nclass C:\n    field = 1\ng = lambda x: (y := x)"
    assert ["C def", "f def"] == [line for line in bound(text) if "assign" not in line]
    assert {"C", "f", "g"} == {line.split()[0] for line in bound(text)}
    assert not any(isinstance(node, ast.Constant) for node in walk_scope(ast.parse(text)))
