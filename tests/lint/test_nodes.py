"""Single nodes of a syntax tree: chains of names, statements that end a block, what a function gives back."""

from __future__ import annotations

import ast

import pytest

from ckpt_doctor.lint.nodes import dotted, last_name, leaves, returned


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.b.c", "a.b.c"),
        ("args['x'].y", "args.x.y"),
        ("vars(args)['x']", "args.x"),
        ("f().x", ""),
        ("a[i]", ""),
        ("3", ""),
    ],
)
def test_a_chain_of_names_is_one_dotted_name(text: str, name: str) -> None:
    node = ast.parse(text, mode="eval").body
    assert (name, name.rpartition(".")[2]) == (dotted(node), last_name(node))


@pytest.mark.parametrize(
    ("text", "ends"), [("return", True), ("break", True), ("raise E", True), ("sys.exit(1)", True), ("save()", False)]
)
def test_a_statement_that_ends_its_block(text: str, ends: bool) -> None:
    assert ends == leaves(ast.parse(text).body[0])


def test_a_function_gives_back_what_it_and_those_inside_return() -> None:
    made = ast.parse("def f(x):\n    def g():\n        return 2\n    if x:\n        return\n    return 1\n").body[0]
    assert {"1", "2"} == set(map(ast.unparse, returned(made)))
