"""One parsed file: parents, scopes, bindings, and what its names stand for within the same repository."""

from __future__ import annotations

import ast
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from functools import cached_property, update_wrapper
from heapq import merge
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from ckpt_doctor.lint.bindings import COMPREHENSIONS, FUNCTIONS, LOOPS, SCOPES, Binding, Function, bindings_of
from ckpt_doctor.lint.nodes import dotted, leaves
from ckpt_doctor.lint.source import Source

# How far names are followed through re-exports and aliases.
_DEPTH = 8
_Found = TypeVar("_Found")


@dataclass(frozen=True, eq=False)
class External:
    """A name from outside the repository: `shutil.rmtree`."""

    name: str


@dataclass(frozen=True, eq=False)
class Definition:
    """A function or class of the repository."""

    module: Module
    node: Function | ast.ClassDef


Symbol: TypeAlias = "External | Definition | Module"
Find: TypeAlias = "Callable[[Path, str, int], Module | None]"
"""The module that a file at this path gets by a dotted name, so many levels up (`library.Library.find`)."""


class Site(NamedTuple):
    """A node in its module."""

    module: Module
    node: ast.AST


class Call(Site):
    """A call in its module."""

    node: ast.Call


def once(find: Callable[[Module, ast.AST], _Found]) -> Callable[[Module, ast.AST], _Found]:
    """A method that finds its answer for each piece of a module once. The answers are shared: nobody changes them."""

    def ask(module: Module, unit: ast.AST) -> _Found:
        known = module.found.setdefault(find, {})
        if unit not in known:
            known[unit] = find(module, unit)
        answer: _Found = known[unit]
        return answer

    return update_wrapper(ask, find)


class Module:
    """A file's syntax tree with the look-ups that rules need."""

    def __init__(self, source: Source, find: Find) -> None:
        self.source = source
        self.tree = source.tree
        self.path = source.path
        self.find = find
        """Another module of the repository, as this one imports it."""
        self.found: dict[Callable[..., Any], dict[ast.AST, Any]] = {}
        """Method -> its answers, by the piece of the module that they are about (`once`)."""
        self._resolved: dict[ast.AST, Symbol | None] = {}
        self._positions: dict[int, tuple[dict[ast.AST, list[int]], list[int]]] = {}

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """Child -> parent, for every statement and expression."""
        return {child: node for node in self.nodes(self.tree) for child in ast.iter_child_nodes(node)}

    @once
    def nodes(self, unit: ast.AST) -> list[ast.AST]:
        """Every node of a piece of this module."""
        return list(ast.walk(unit))

    @once
    def calls(self, unit: ast.AST) -> list[ast.Call]:
        """Every call in a piece of this module."""
        return [node for node in self.nodes(unit) if isinstance(node, ast.Call)]

    @once
    def increments(self, loop: ast.AST) -> dict[str, list[ast.AugAssign]]:
        """Every `name += 1` in a loop, by the dotted name."""
        found: dict[str, list[ast.AugAssign]] = {}
        for node in self.nodes(loop):
            if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add) and _is_one(node.value):
                found.setdefault(dotted(node.target), []).append(node)
        return found

    @cached_property
    def places(self) -> dict[ast.AST, tuple[int, int]]:
        """Statement -> the number of the block that contains it, and its index there."""
        blocks = (
            block
            for node in self.nodes(self.tree)
            for name in ("body", "orelse", "finalbody")
            if isinstance(block := getattr(node, name, None), list)
        )
        return {child: (number, i) for number, block in enumerate(blocks) for i, child in enumerate(block)}

    @cached_property
    def exits(self) -> dict[int, list[tuple[int, ast.If]]]:
        """Block (as in `places`) -> its tests that leave it, with their index: `if not args.delete: return`."""
        found: dict[int, list[tuple[int, ast.If]]] = {}
        for statement, (block, index) in self.places.items():
            if isinstance(statement, ast.If) and leaves(statement.body[-1]):
                found.setdefault(block, []).append((index, statement))
        return found

    @cached_property
    def loaded_names(self) -> frozenset[str]:
        """The plain names that are read anywhere in the file without being called."""
        called = {id(call.func) for call in self.calls(self.tree)}
        return frozenset(
            n.id
            for n in self.nodes(self.tree)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and id(n) not in called
        )

    @once
    def classes(self, unit: ast.AST) -> list[ast.ClassDef]:
        """Every class in a piece of this module."""
        return [node for node in self.nodes(unit) if isinstance(node, ast.ClassDef)]

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """From the parent up to the module."""
        while (parent := self.parents.get(node)) is not None:
            yield parent
            node = parent

    @once
    def scope(self, node: ast.AST) -> ast.AST:
        """The innermost function around a node, or the module. A function's own node is outside of it."""
        return next((a for a in self.ancestors(node) if isinstance(a, SCOPES)), self.tree)

    def function(self, node: ast.AST) -> Function | None:
        """The innermost `def` around a node."""
        return next((a for a in self.ancestors(node) if isinstance(a, FUNCTIONS)), None)

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        """The innermost class around a node."""
        return next((a for a in self.ancestors(node) if isinstance(a, ast.ClassDef)), None)

    def statement(self, node: ast.AST) -> ast.AST:
        """The statement that a node is part of."""
        while not isinstance(node, ast.stmt) and node in self.parents:
            node = self.parents[node]
        return node

    @once
    def bindings(self, scope: ast.AST) -> dict[str, list[Binding]]:
        """Every binding made directly in a scope (a function, a class body, the module), by name, in line order."""
        found: dict[str, list[Binding]] = {}
        for name, binding in bindings_of(scope):
            found.setdefault(name, []).append(binding)
        for group in found.values():
            group.sort(key=lambda b: _line(b.node))
        return found

    @cached_property
    def attributes(self) -> dict[str, list[Binding]]:
        """Bindings of dotted names anywhere in the file: `args.learning_rate`, `self.path`."""
        found: dict[str, list[Binding]] = {}
        for node in self.nodes(self.tree):
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    name = dotted(target)
                    if isinstance(target, ast.Attribute) and name:
                        found.setdefault(name, []).append(Binding("assign", node, node.value))
        return found

    @cached_property
    def own_attributes(self) -> dict[tuple[ast.ClassDef | None, str], list[Binding]]:
        """Those of `attributes` that begin with `self`, by the class in which they are bound."""
        found: dict[tuple[ast.ClassDef | None, str], list[Binding]] = {}
        for name, bindings in self.attributes.items():
            for binding in bindings if name.startswith("self.") else ():
                found.setdefault((self.class_of(binding.node), name), []).append(binding)
        return found

    def lookup(self, name: str, at: ast.AST) -> list[Binding]:
        """The bindings that a name may have at a node: those that can reach it in the nearest scope that has any."""
        scope = self.scope(at)
        while True:
            found = self.bindings(scope).get(name)
            if found:
                return found if len(found) == 1 else self._reaching(found, at, scope)
            if scope is self.tree:
                return []
            scope = self.scope(scope)

    def _reaching(self, found: list[Binding], at: ast.AST, scope: ast.AST) -> list[Binding]:
        if self.scope(at) is not scope:
            return found
        around = {at, *self.ancestors(at)}
        reaching: list[Binding] = []
        for binding in self._before(found, at, around):
            reaching.append(binding)
            branch = self.parents.get(self.statement(binding.node), self.tree)
            if binding.kind != "augment" and (branch in around or branch is scope):
                break
        return reaching or found

    def _before(self, found: list[Binding], at: ast.AST, around: Set[ast.AST]) -> Iterator[Binding]:
        """The bindings before a node that may hold there, the last first; of what encloses names, what is `around`."""
        if id(found) not in self._positions:
            self._positions[id(found)] = _positions(found)
        enclosing, others = self._positions[id(found)]
        end = bisect_right(found, _line(at), key=lambda b: _line(b.node))
        own = sorted((i for node in around for i in enclosing.get(node, ()) if i < end), reverse=True)
        earlier = (others[i] for i in range(bisect_left(others, end) - 1, -1, -1))
        rest = (i for i in earlier if found[i].node not in around)
        return (found[i] for i in merge(rest, own, reverse=True))

    def resolve(self, node: ast.AST, depth: int = _DEPTH) -> Symbol | None:
        """What a name or dotted name stands for; None for values that are computed."""
        if depth <= 0:
            return None
        if node not in self._resolved:
            self._resolved[node] = None  # what an alias of itself gets to see
            self._resolved[node] = self._resolve(node, depth)
        return self._resolved[node]

    def _resolve(self, node: ast.AST, depth: int) -> Symbol | None:
        if isinstance(node, ast.Name):
            found = self.lookup(node.id, node)
            if found:
                return self._resolve_binding(found[0], node.id, depth)
            return self._from_star_imports(node.id, depth) or External(node.id)
        if isinstance(node, ast.Attribute):
            base = self.resolve(node.value, depth - 1)
            if isinstance(base, External):
                whole = f"{base.name}.{node.attr}"
                return (whole in self._dotted_imports and self.find(self.path, whole, 0)) or External(whole)
            if isinstance(base, Module):
                return base.member(node.attr, depth - 1) or External(f"{dotted(node) or node.attr}")
            if isinstance(base, Definition) and isinstance(base.node, ast.ClassDef):
                return method(base, node.attr)
        return None

    def _resolve_binding(self, binding: Binding, name: str, depth: int) -> Symbol | None:
        if isinstance(binding.node, (*FUNCTIONS, ast.ClassDef)) and binding.kind == "def":
            return Definition(self, binding.node)
        if binding.kind == "import":
            return self._resolve_import(binding.node, name, depth)
        if binding.kind == "assign" and isinstance(binding.value, (ast.Name, ast.Attribute)):
            return self.resolve(binding.value, depth - 1)
        return None

    def _resolve_import(self, node: ast.AST, name: str, depth: int) -> Symbol | None:
        if isinstance(node, ast.Import):
            alias = next((a for a in node.names if a.asname == name), None)
            whole = alias.name if alias else name
            # `import utils.tools` binds `utils`, whose member `tools` is found in the same way as a file.
            return self.find(self.path, whole, 0) or External(whole)
        if isinstance(node, ast.ImportFrom):
            original = next((a.name for a in node.names if (a.asname or a.name) == name), name)
            base = self.find(self.path, node.module or "", node.level) if node.module or node.level else None
            if base is not None and (found := base.member(original, depth - 1)):
                return found
            inner = f"{node.module}.{original}" if node.module else original
            submodule = self.find(self.path, inner, node.level)
            return submodule or External(inner)
        return None

    def member(self, name: str, depth: int = _DEPTH) -> Symbol | None:
        """What another module gets by importing `name` from this one."""
        if depth <= 0:
            return None
        found = self.bindings(self.tree).get(name)
        if found:
            return self._resolve_binding(found[-1], name, depth)
        if self.path.name == "__init__.py" and (submodule := self.find(self.path, name, 1)):
            return submodule
        return self._from_star_imports(name, depth)

    @cached_property
    def _star_imports(self) -> list[ast.ImportFrom]:
        return [
            node
            for node in self.nodes(self.tree)
            if isinstance(node, ast.ImportFrom) and any(a.name == "*" for a in node.names)
        ]

    @cached_property
    def _dotted_imports(self) -> set[str]:
        """`a.b.c` and `a.b` of every `import a.b.c`: packages without `__init__.py` are found by their full name."""
        names = (a.name for node in self.nodes(self.tree) if isinstance(node, ast.Import) for a in node.names)
        return {name.rsplit(".", i)[0] for name in names for i in range(name.count("."))}

    def _from_star_imports(self, name: str, depth: int) -> Symbol | None:
        for node in self._star_imports:
            base = self.find(self.path, node.module or "", node.level)
            if base is not None and base is not self and (found := base.member(name, depth - 1)):
                return found
        return None

    @once
    def references(self, unit: ast.AST) -> list[Definition]:
        """The functions and classes of the repository that a piece of this module mentions."""
        found: dict[ast.AST, Definition] = {}
        for node in self.nodes(unit):
            if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
                symbol = self.resolve(node)
                if isinstance(symbol, Definition) and symbol.node is not unit:
                    found.setdefault(symbol.node, symbol)
        return list(found.values())


def method(owner: Definition, name: str, depth: int = 4) -> Definition | None:
    """A class's method, its own or inherited from a class of the repository."""
    assert isinstance(owner.node, ast.ClassDef)
    for node in owner.node.body:
        if isinstance(node, FUNCTIONS) and node.name == name:
            return Definition(owner.module, node)
    for base in owner.node.bases if depth else ():
        parent = owner.module.resolve(base)
        if isinstance(parent, Definition) and isinstance(parent.node, ast.ClassDef) and parent.node is not owner.node:
            found = method(parent, name, depth - 1)
            if found:
                return found
    return None


def _positions(found: list[Binding]) -> tuple[dict[ast.AST, list[int]], list[int]]:
    """Indices of the bindings that loops, `with` and comprehensions make for what they enclose; those of all others."""
    enclosing: dict[ast.AST, list[int]] = {}
    others: list[int] = []
    for index, binding in enumerate(found):
        if not isinstance(binding.node, (*COMPREHENSIONS, *LOOPS, ast.With, ast.AsyncWith)):
            others.append(index)
        elif binding.kind in ("item", "with") or not isinstance(binding.node, COMPREHENSIONS):
            enclosing.setdefault(binding.node, []).append(index)
    return enclosing, others


def _is_one(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == 1


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)
