"""Where the names of a scope get their values."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SCOPES = (*FUNCTIONS, ast.Lambda, ast.Module)


@dataclass(frozen=True, eq=False)
class Binding:
    """One place where a name gets a value."""

    kind: Literal["assign", "augment", "item", "with", "param", "import", "def", "other"]
    node: ast.AST
    value: ast.expr | None = None
    """The expression assigned, iterated over or entered; a parameter's default."""


def walk_scope(scope: ast.AST) -> Iterator[ast.AST]:
    """Every node of a scope without those of functions and classes defined in it (their own nodes are included)."""
    stack: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (*SCOPES, ast.ClassDef)):
            stack.extend(ast.iter_child_nodes(node))


def bindings_of(scope: ast.AST) -> Iterator[tuple[str, Binding]]:
    """Every name that a scope binds directly, with its binding."""
    if isinstance(scope, (*FUNCTIONS, ast.Lambda)):
        yield from _parameters(scope)
    for node in walk_scope(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _targets(target, node, node.value, "assign")
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            yield from _targets(node.target, node, node.value, "assign")
        elif isinstance(node, ast.AugAssign):
            yield from _targets(node.target, node, node.value, "augment")
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            yield from _targets(node.target, node, node.iter, "item")
        elif isinstance(node, COMPREHENSIONS):
            for generator in node.generators:
                yield from _targets(generator.target, node, generator.iter, "item")
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                if item.optional_vars is not None:
                    yield from _targets(item.optional_vars, node, item.context_expr, "with")
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield alias.asname or alias.name.split(".")[0], Binding("import", node)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node.name, Binding("def", node)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name, Binding("other", node)


def _parameters(scope: Function | ast.Lambda) -> Iterator[tuple[str, Binding]]:
    arguments = scope.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + [*arguments.defaults]
    for parameter, default in [*zip(positional, defaults), *zip(arguments.kwonlyargs, arguments.kw_defaults)]:  # noqa: B905 -- equally long by the grammar
        yield parameter.arg, Binding("param", scope, default)
    for rest in (arguments.vararg, arguments.kwarg):
        if rest is not None:
            yield rest.arg, Binding("other", scope)


def _targets(
    target: ast.AST, node: ast.AST, value: ast.expr | None, kind: Literal["assign", "augment", "item", "with"]
) -> Iterator[tuple[str, Binding]]:
    if isinstance(target, ast.Name):
        yield target.id, Binding(kind, node, value)
    elif isinstance(target, ast.Starred):
        yield from _targets(target.value, node, None, kind)
    elif isinstance(target, (ast.Tuple, ast.List)):
        pairwise = kind == "assign" and isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts)
        for i, element in enumerate(target.elts):
            if pairwise:
                assert isinstance(value, (ast.Tuple, ast.List))
                yield from _targets(element, node, value.elts[i], kind)
            elif kind == "item":
                yield from _targets(element, node, value, kind)
            else:
                for name in ast.walk(element):  # `first, *rest = f()`, `a, (b, c) = f()`
                    if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                        yield name.id, Binding("other", node, value)
