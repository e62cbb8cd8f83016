"""One parsed file: parents, scopes, bindings, and what its names stand for within the same repository."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

from ckpt_doctor.lint.source import SKIPPED_FOLDERS, NotPython, Source, read_source

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES = (*FUNCTIONS, ast.Lambda, ast.Module)
# How far names are followed through re-exports and aliases.
_DEPTH = 8
# Characters of source whose syntax trees are kept; a tree takes about a hundred times its text.
_KEPT_TEXT = 2_000_000
# Folders above a script in which `from utils.tools import f` is looked for when nothing marks the repository's root.
_UNMARKED_LEVELS = 2
_ROOT_MARKERS = (".git", "pyproject.toml", "setup.py", "setup.cfg")


@dataclass(frozen=True, eq=False)
class Binding:
    """One place where a name gets a value."""

    kind: Literal["assign", "augment", "item", "with", "param", "import", "def", "other"]
    node: ast.AST
    value: ast.expr | None = None
    """The expression assigned, iterated over or entered; a parameter's default."""


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


@dataclass(eq=False)
class Library:
    """The files read so far; each is read once however many scripts import it."""

    names: dict[Path, Path] = field(default_factory=dict)
    """Absolute path -> the path as the user wrote it, for the files to lint."""
    relative: bool = False
    """Whether other files are named relative to the current folder, as the user did."""
    modules: dict[Path, Module | NotPython] = field(default_factory=dict)
    _found: dict[tuple[Path, str], Path | None] = field(default_factory=dict)

    def open(self, path: Path) -> Module | NotPython:
        """The module at a path, or why it has none."""
        key = path.absolute()
        if key not in self.modules:
            named = self.names.get(key) or (Path(os.path.relpath(key)) if self.relative else key)
            try:
                self.modules[key] = Module(read_source(named), self)
            except NotPython as reason:
                self.modules[key] = reason
        return self.modules[key]

    def forget(self) -> None:
        """Drop the modules read first, as many as it takes to keep the rest within bounds. Call between scripts."""
        size = 0
        for key, module in reversed(list(self.modules.items())):
            size += len(module.source.text) if isinstance(module, Module) else 0
            if size > _KEPT_TEXT:
                del self.modules[key]

    def find(self, importer: Path, dotted: str, level: int = 0) -> Module | None:
        """The module that `importer` gets by this name, when it is a file of the same repository."""
        folder = importer.absolute().parent
        if level:
            for _ in range(level - 1):
                folder = folder.parent
            path = _module_file(folder, dotted)
        else:
            key = (folder, dotted)
            if key not in self._found:
                files = (_module_file(root, dotted) for root in _import_roots(folder))
                self._found[key] = next((file for file in files if file), None)
            path = self._found[key]
        found = self.open(path) if path else None
        return found if isinstance(found, Module) else None


def _module_file(folder: Path, dotted: str) -> Path | None:
    base = folder.joinpath(*dotted.split(".")) if dotted else folder
    candidates = [base / "__init__.py"]
    if dotted:
        candidates.insert(0, base.with_name(base.name + ".py"))
    try:
        return next((path for path in candidates if path.is_file()), None)
    except (OSError, ValueError):
        return None


def _import_roots(folder: Path) -> Iterator[Path]:
    """Where absolute imports may start: the script's folder, then those above it up to the repository's root."""
    chain = [folder, *folder.parents][:8]
    marked = next((i for i, here in enumerate(chain) if any((here / name).exists() for name in _ROOT_MARKERS)), None)
    for here in chain[: (_UNMARKED_LEVELS if marked is None else marked) + 1]:
        if here.name in SKIPPED_FOLDERS:
            return  # what is installed there is not part of the repository
        yield here


class Module:
    """A file's syntax tree with the look-ups that rules need."""

    def __init__(self, source: Source, library: Library) -> None:
        self.source = source
        self.tree = source.tree
        self.path = source.path
        self.library = library
        self._bindings: dict[ast.AST, dict[str, list[Binding]]] = {}
        self._references: dict[ast.AST, list[Definition]] = {}
        self._nodes: dict[ast.AST, list[ast.AST]] = {}
        self._calls: dict[ast.AST, list[ast.Call]] = {}
        self._classes: dict[ast.AST, list[ast.ClassDef]] = {}
        self._scopes: dict[ast.AST, ast.AST] = {}
        self._resolved: dict[ast.AST, Symbol | None] = {}

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """Child -> parent, for every statement and expression."""
        return {child: node for node in self.nodes(self.tree) for child in ast.iter_child_nodes(node)}

    def nodes(self, unit: ast.AST) -> list[ast.AST]:
        """Every node of a piece of this module."""
        if unit not in self._nodes:
            self._nodes[unit] = list(ast.walk(unit))
        return self._nodes[unit]

    def calls(self, unit: ast.AST) -> list[ast.Call]:
        """Every call in a piece of this module."""
        if unit not in self._calls:
            self._calls[unit] = [node for node in self.nodes(unit) if isinstance(node, ast.Call)]
        return self._calls[unit]

    def classes(self, unit: ast.AST) -> list[ast.ClassDef]:
        """Every class in a piece of this module."""
        if unit not in self._classes:
            self._classes[unit] = [node for node in self.nodes(unit) if isinstance(node, ast.ClassDef)]
        return self._classes[unit]

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """From the parent up to the module."""
        while (parent := self.parents.get(node)) is not None:
            yield parent
            node = parent

    def scope(self, node: ast.AST) -> ast.AST:
        """The innermost function or the module in which a node stands. A function's own node is outside of it."""
        found = self._scopes.get(node)
        if found is None:
            found = next((a for a in self.ancestors(node) if isinstance(a, _SCOPES)), self.tree)
            self._scopes[node] = found
        return found

    def function(self, node: ast.AST) -> Function | None:
        """The innermost `def` around a node."""
        return next((a for a in self.ancestors(node) if isinstance(a, FUNCTIONS)), None)

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        """The class in one of whose methods a node stands."""
        return next((a for a in self.ancestors(node) if isinstance(a, ast.ClassDef)), None)

    def statement(self, node: ast.AST) -> ast.AST:
        """The statement that a node is part of."""
        while not isinstance(node, ast.stmt) and node in self.parents:
            node = self.parents[node]
        return node

    def bindings(self, scope: ast.AST) -> dict[str, list[Binding]]:
        """Every binding made directly in a scope (a function, a class body, the module), by name, in line order."""
        if scope not in self._bindings:
            found: dict[str, list[Binding]] = {}
            for name, binding in _bindings_of(scope):
                found.setdefault(name, []).append(binding)
            for group in found.values():
                group.sort(key=lambda b: _line(b.node))
            self._bindings[scope] = found
        return self._bindings[scope]

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
        before = [
            b
            for b in found
            if _line(b.node) <= _line(at)
            and (b.kind in ("item", "with") or not isinstance(b.node, COMPREHENSIONS))
            and (self._contains(b.node, at) == isinstance(b.node, (*COMPREHENSIONS, *LOOPS, ast.With, ast.AsyncWith)))
        ]
        reaching: list[Binding] = []
        around = {at, *self.ancestors(at)}
        for binding in reversed(before):
            reaching.append(binding)
            branch = self.parents.get(self.statement(binding.node), self.tree)
            if binding.kind != "augment" and (branch in around or branch is scope):
                break
        return reaching or found

    def _contains(self, outer: ast.AST, node: ast.AST) -> bool:
        return outer is node or any(a is outer for a in self.ancestors(node))

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
            return self._resolve_name(node, depth)
        if isinstance(node, ast.Attribute):
            base = self.resolve(node.value, depth - 1)
            if isinstance(base, External):
                whole = f"{base.name}.{node.attr}"
                return (whole in self._dotted_imports and self.library.find(self.path, whole)) or External(whole)
            if isinstance(base, Module):
                return base.member(node.attr, depth - 1) or External(f"{dotted(node) or node.attr}")
            if isinstance(base, Definition) and isinstance(base.node, ast.ClassDef):
                return method(base, node.attr)
        return None

    def _resolve_name(self, node: ast.Name, depth: int) -> Symbol | None:
        found = self.lookup(node.id, node)
        if not found:
            return self._from_star_imports(node.id, depth) or External(node.id)
        return self._resolve_binding(found[0], node.id, depth)

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
            return self.library.find(self.path, whole) or External(whole)
        if isinstance(node, ast.ImportFrom):
            original = next((a.name for a in node.names if (a.asname or a.name) == name), name)
            base = self.library.find(self.path, node.module or "", node.level) if node.module or node.level else None
            if base is not None and (found := base.member(original, depth - 1)):
                return found
            inner = f"{node.module}.{original}" if node.module else original
            submodule = self.library.find(self.path, inner, node.level)
            return submodule or External(inner)
        return None

    def member(self, name: str, depth: int = _DEPTH) -> Symbol | None:
        """What another module gets by importing `name` from this one."""
        if depth <= 0:
            return None
        found = self.bindings(self.tree).get(name)
        if found:
            return self._resolve_binding(found[-1], name, depth)
        if self.path.name == "__init__.py" and (submodule := self.library.find(self.path, name, 1)):
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
            base = self.library.find(self.path, node.module or "", node.level)
            if base is not None and base is not self and (found := base.member(name, depth - 1)):
                return found
        return None

    def references(self, unit: ast.AST) -> list[Definition]:
        """The functions and classes of the repository that a piece of this module mentions."""
        if unit not in self._references:
            found: dict[ast.AST, Definition] = {}
            for node in self.nodes(unit):
                if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
                    symbol = self.resolve(node)
                    if isinstance(symbol, Definition) and symbol.node is not unit:
                        found.setdefault(symbol.node, symbol)
            self._references[unit] = list(found.values())
        return self._references[unit]


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


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a chain of names, `""` of anything else. `args['x']` and `vars(args)['x']` count as `args.x`."""
    parts: list[str] = []
    while True:
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            if not isinstance(node.slice.value, str):
                return ""
            parts.append(node.slice.value)
            node = node.value
        elif isinstance(node, ast.Call) and dotted(node.func) == "vars" and node.args:
            node = node.args[0]
        elif isinstance(node, ast.Name):
            return ".".join(reversed([*parts, node.id]))
        else:
            return ""


def walk_scope(scope: ast.AST) -> Iterator[ast.AST]:
    """Every node of a scope without those of functions and classes defined in it (their own nodes are included)."""
    stack: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (*_SCOPES, ast.ClassDef)):
            stack.extend(ast.iter_child_nodes(node))


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)


def _bindings_of(scope: ast.AST) -> Iterator[tuple[str, Binding]]:
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
            elif isinstance(element, ast.Name):
                yield element.id, Binding("other", node, value)
