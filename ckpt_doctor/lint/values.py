"""What a path expression says: its literal text, with holes where a value is only known when the script runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product

from ckpt_doctor.lint.bindings import COMPREHENSIONS, FUNCTIONS, Binding
from ckpt_doctor.lint.module import Call, Definition, Module, Site
from ckpt_doctor.lint.nodes import dotted, returned, texts
from ckpt_doctor.lint.program import Program
from ckpt_doctor.lint.reading import Hole, Items, Part, Reading, parent

_DEPTH = 14
_MAX_READINGS = 8


_JOINS = re.compile(r"(^|\.)(path|posixpath|osp)\.join$|(^|\.)\w*Path$")
_SAME = ("str", "os.fspath", "os.path.abspath", "os.path.normpath", "os.path.expanduser", "os.path.realpath")
_SAME_METHODS = ("strip", "rstrip", "lstrip", "resolve", "absolute", "as_posix", "expanduser", "lower", "__str__")
_LISTINGS = ("os.listdir", "os.scandir", "os.walk", "glob.glob", "glob.iglob")
_LISTING_METHODS = ("iterdir", "glob", "rglob", "walk")
_PASSING_ON = (
    "sorted",
    "list",
    "reversed",
    "tuple",
    "set",
    "iter",
    "enumerate",
    "natsorted",
    "natsort.natsorted",
    "tqdm",
)
_ONE_OF = ("pop", "popleft", "heappop")


def readings(program: Program, module: Module, node: ast.expr, depth: int = _DEPTH) -> list[Reading]:
    """The values that an expression may have; at least one, at most eight."""
    if depth <= 0:
        return [_hole(module, node)]
    hole = [_hole(module, node)]
    return program.once(
        readings, node, hole, lambda: list(_readings(program, module, node, depth - 1))[:_MAX_READINGS] or hole
    )


def _hole(module: Module, node: ast.expr, name: str = "") -> Reading:
    return Reading((Hole(name or dotted(node) or "...", Site(module, node)),))


def _joined(program: Program, groups: list[list[Reading]], separator: str = "") -> Iterator[Reading]:
    for combination in islice(product(*(group[:4] for group in groups)), 4 * _MAX_READINGS):
        parts: list[Part] = []
        for i, reading in enumerate(combination):
            if i and separator:
                parts.append(separator)
            parts += reading.parts
        via = tuple(dict.fromkeys(call for reading in combination for call in reading.via))
        # Two parts that came through two different calls of one function never meet in one run of it.
        if len({target.function for call in via if (target := program.target(call))}) == len(via):
            yield Reading(tuple(parts), via)


def _readings(program: Program, module: Module, node: ast.expr, depth: int) -> Iterator[Reading]:
    def read(inner: ast.expr) -> list[Reading]:
        return readings(program, module, inner, depth)

    if isinstance(node, ast.Constant):
        yield Reading((node.value if isinstance(node.value, str) else str(node.value),))
    elif isinstance(node, ast.JoinedStr):
        yield from _joined(program, [read(part) for part in node.values[:24]])
    elif isinstance(node, ast.FormattedValue):
        yield from read(node.value)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Div)):
        yield from _joined(program, [read(node.left), read(node.right)], "/" if isinstance(node.op, ast.Div) else "")
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant):
        values = node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]
        yield from _filled(program, str(node.left.value), r"%[-+ #0-9.]*[a-zA-Z]", [read(v) for v in values[:24]])
    elif isinstance(node, ast.IfExp):
        yield from read(node.body) + read(node.orelse)
    elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        for value in node.values[:4]:
            yield from read(value)
    elif isinstance(node, (ast.NamedExpr, ast.Starred, ast.Await)):
        yield from read(node.value)
    elif isinstance(node, ast.Call):
        yield from _call_readings(program, module, node, depth)
    elif isinstance(node, (ast.Name, ast.Attribute)) or (isinstance(node, ast.Subscript) and dotted(node)):
        yield from _named_readings(program, module, node, depth)
    elif isinstance(node, ast.Subscript):
        yield from _element(program, module, node, node.value, depth)


def _filled(program: Program, pattern: str, placeholder: str, values: list[list[Reading]]) -> Iterator[Reading]:
    literals = re.split(placeholder, pattern)
    groups: list[list[Reading]] = []
    for i, literal in enumerate(literals):
        groups.append([Reading((literal,))])
        if i < len(literals) - 1 and i < len(values):
            groups.append(values[i])
    yield from _joined(program, groups)


def _call_readings(program: Program, module: Module, node: ast.Call, depth: int) -> Iterator[Reading]:
    def read(inner: ast.expr) -> list[Reading]:
        return readings(program, module, inner, depth)

    name = program.name_of(Call(module, node))
    args = node.args
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if (_JOINS.search(name) or method == "joinpath") and (args or method == "joinpath"):
        receiver = [node.func.value] if method == "joinpath" and isinstance(node.func, ast.Attribute) else []
        yield from _joined(program, [read(part) for part in [*receiver, *args][:12]], "/")
    elif name.startswith("tempfile."):
        yield Reading((Hole(name, Site(module, node), temporary=True),))
    elif name in _SAME and args:
        yield from read(args[0])
    elif name in ("os.environ.get", "os.getenv") and len(args) > 1:
        yield from read(args[1])
    elif name == "os.path.dirname" and args:
        yield from (parent(reading) for reading in read(args[0]))
    elif method == "format" and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Constant):
        values = [read(a) for a in [*args, *(k.value for k in node.keywords)][:24]]
        yield from _filled(program, str(node.func.value.value), r"\{[^{}]*\}", values)
    elif (
        method == "join"
        and isinstance(node.func, ast.Attribute)
        and args
        and isinstance(args[0], (ast.List, ast.Tuple))
    ):
        separator = node.func.value.value if isinstance(node.func.value, ast.Constant) else ""
        yield from _joined(program, [read(part) for part in args[0].elts[:12]], str(separator))
    elif method in _SAME_METHODS and isinstance(node.func, ast.Attribute):
        yield from read(node.func.value)
    elif method in ("with_suffix", "with_name") and isinstance(node.func, ast.Attribute) and args:
        yield from _joined(program, [read(node.func.value), read(args[0])])
    elif method in _ONE_OF and isinstance(node.func, ast.Attribute):
        owner = args[0] if method == "heappop" and args else node.func.value
        yield from _element(program, module, node, owner, depth)
    elif (target := program.target(Call(module, node))) is not None:
        for value in returned(target.function):
            for reading in readings(program, target.module, value, depth - 2):
                # This call makes the path; it is not one of those that lead to where the path is used.
                made_by = [c for c in reading.via if _runs(program, c, target.function)]
                if all(c.node is node for c in made_by):
                    yield replace(reading, via=tuple(c for c in reading.via if c not in made_by))
    elif name in ("min", "max", "next") and args:
        yield from _element(program, module, node, args[0], depth)


def _runs(program: Program, call: Call, function: ast.AST) -> bool:
    target = program.target(call)
    return target is not None and target.function is function


def _named_readings(program: Program, module: Module, node: ast.expr, depth: int) -> Iterator[Reading]:
    if isinstance(node, ast.Attribute) and node.attr == "parent":
        yield from (parent(r) for r in readings(program, module, node.value, depth))
        return
    name = dotted(node)
    if isinstance(node, ast.Attribute) and node.attr in ("path", "name"):
        inner = readings(program, module, node.value, depth)
        if any(h.items or h.temporary for r in inner for h in r.holes):
            yield from inner
            return
    bindings = program.values_of(module, node)
    imported = _imported_constant(module, node)
    if imported is not None:
        yield from readings(program, imported[0], imported[1], depth)
        return
    for binding in bindings[:4]:
        if binding.kind == "augment" and binding.value is not None and len(bindings) > 1:
            rest = [b for b in bindings if b is not binding]
            base = [r for b in rest[:2] for r in _bound(program, module, node, b, depth)]
            yield from _joined(program, [base, readings(program, module, binding.value, depth)])
            return
        yield from _bound(program, module, node, binding, depth)
    if not bindings:
        default = program.option_defaults.get(name.rsplit(".", 1)[-1]) if "." in name else None
        text = default.value if isinstance(default, ast.Constant) and isinstance(default.value, str) else None
        yield Reading((Hole(name or "...", Site(module, node), default=text),))


def _imported_constant(module: Module, node: ast.expr) -> tuple[Module, ast.expr] | None:
    """The module-level value behind `config.CHECKPOINTS` or `from config import CHECKPOINTS`."""
    if isinstance(node, ast.Attribute):
        owner = module.resolve(node.value)
        if isinstance(owner, Module):
            return _constant(owner, node.attr)
        if isinstance(owner, Definition) and isinstance(owner.node, ast.ClassDef):
            return _constant(owner.module, node.attr, owner.node)
    if isinstance(node, ast.Name):
        for binding in module.lookup(node.id, node)[:1]:
            if binding.kind == "import" and isinstance(binding.node, ast.ImportFrom):
                source = module.find(module.path, binding.node.module or "", binding.node.level)
                original = next((a.name for a in binding.node.names if (a.asname or a.name) == node.id), node.id)
                return _constant(source, original) if source else None
    return None


def _constant(module: Module, name: str, scope: ast.AST | None = None) -> tuple[Module, ast.expr] | None:
    bindings = module.bindings(scope or module.tree).get(name, [])
    values = [b.value for b in bindings if b.kind == "assign" and b.value is not None]
    return (module, values[-1]) if values else None


def _bound(program: Program, module: Module, node: ast.expr, binding: Binding, depth: int) -> Iterator[Reading]:
    name = dotted(node)
    if binding.kind == "assign" and binding.value is not None:
        if isinstance(binding.value, ast.Constant) and not isinstance(binding.value.value, str):
            yield _hole(module, node, name)  # a number that something may count up
            return
        for reading in readings(program, module, binding.value, depth):
            # Where the value is computed beyond reading, the variable's name says more than the expression.
            unknown = len(reading.parts) == 1 and isinstance(reading.parts[0], Hole)
            plain = unknown and not (reading.holes[0].items or reading.holes[0].temporary or reading.holes[0].default)
            yield _hole(module, binding.value, name) if plain and "." not in reading.holes[0].name else reading
    elif binding.kind == "param":
        yield from _parameter_readings(program, module, node, binding, depth)
    elif binding.kind == "item" and binding.value is not None:
        if isinstance(binding.value, (ast.List, ast.Tuple)):
            for element in binding.value.elts[:_MAX_READINGS]:
                yield from readings(program, module, element, depth)
        else:
            known = items(program, module, binding.value, depth)
            for folder in known.folders[:_MAX_READINGS]:
                hole = Hole(name, Site(module, node), items=replace(known, folders=(folder,)))
                yield Reading((hole,), folder.via)
            if not known.folders:
                yield Reading((Hole(name, Site(module, node), items=known),))
    elif binding.kind == "with" and isinstance(binding.value, ast.Call):
        opened = program.name_of(Call(module, binding.value))
        if opened in ("open", "io.open") and binding.value.args:
            yield from readings(program, module, binding.value.args[0], depth)
        else:
            yield Reading((Hole(name, Site(module, node), temporary=True),))
    else:
        # `step, folder = folders.pop(0)`: each name is a part of what was taken out.
        parts = readings(program, module, binding.value, depth) if isinstance(binding.value, ast.Call) else []
        yield from [r for r in parts if any(h.items for h in r.holes)] or [_hole(module, node)]


def _parameter_readings(
    program: Program, module: Module, node: ast.expr, binding: Binding, depth: int
) -> Iterator[Reading]:
    function = binding.node
    name = dotted(node)
    calls = program.callers(function)
    if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for call, value in program.arguments(function, name)[:_MAX_READINGS]:
            for reading in readings(program, call.module, value, depth - 2):
                yield replace(reading, via=(call, *reading.via))
    passed = len(program.arguments(function, name)) if isinstance(function, FUNCTIONS) else 0
    if passed < max(len(calls), 1):
        if binding.value is not None:
            yield from readings(program, module, binding.value, depth)
        elif not calls:
            yield Reading((Hole(name, Site(module, node), parameter=True),))


def _element(program: Program, module: Module, node: ast.expr, owner: ast.expr, depth: int) -> Iterator[Reading]:
    """One element taken out of a list: `saved.pop(0)`, `folders[0]`."""
    known = items(program, module, owner, depth)
    name = dotted(owner) or "..."
    yield Reading((Hole(name, Site(module, node), items=replace(known, limited=True)),))


def items(program: Program, module: Module, node: ast.expr, depth: int = _DEPTH) -> Items:
    """What is known of the elements of an iterable expression."""
    if depth <= 0:
        return Items()
    return program.once(items, node, Items(), lambda: _items(program, module, node, depth))


def _items(program: Program, module: Module, node: ast.expr, depth: int) -> Items:
    known = Items()
    if isinstance(node, ast.Subscript):
        return replace(items(program, module, node.value, depth - 1), limited=True)
    if isinstance(node, COMPREHENSIONS):
        element = node.value if isinstance(node, ast.DictComp) else node.elt
        for generator in node.generators[:3]:
            known = _merge(known, items(program, module, generator.iter, depth - 1))
            known = replace(known, strings=known.strings | strings_in(program, module, generator.ifs))
        folders = known.folders or tuple(readings(program, module, element, depth - 1))
        return replace(known, strings=known.strings | strings_in(program, module, [element]), folders=folders)
    if isinstance(node, ast.Call):
        return _call_items(program, module, node, depth)
    if isinstance(node, (ast.Name, ast.Attribute)):
        for binding in program.values_of(module, node)[:3]:
            if binding.kind == "param" and isinstance(binding.node, FUNCTIONS):
                for call, value in program.arguments(binding.node, dotted(node))[:3]:
                    known = _merge(known, items(program, call.module, value, depth - 2))
            elif binding.value is not None:
                known = _merge(known, items(program, module, binding.value, depth - 1))
        if isinstance(node, ast.Name):
            known = _merge(known, _appended(program, module, node, depth))
    return known


def _merge(one: Items, other: Items) -> Items:
    return Items(one.folders + other.folders, one.strings | other.strings, one.limited or other.limited)


def _call_items(program: Program, module: Module, node: ast.Call, depth: int) -> Items:
    name = program.name_of(Call(module, node))
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if name in _PASSING_ON and node.args:
        return items(program, module, node.args[0], depth - 1)
    if name == "filter" and len(node.args) == 2:
        known = items(program, module, node.args[1], depth - 1)
        return replace(known, strings=known.strings | strings_in(program, module, [node.args[0]]))
    if name in _LISTINGS and node.args:
        folders = tuple(readings(program, module, node.args[0], depth - 1))
        return Items(folders, frozenset(f.literal for f in folders) if "glob" in name else frozenset())
    if method in _LISTING_METHODS and isinstance(node.func, ast.Attribute):
        folders = tuple(readings(program, module, node.func.value, depth - 1))
        return Items(folders, strings_in(program, module, node.args))
    known = Items()
    target = program.target(Call(module, node))
    if target is not None:
        for value in returned(target.function):
            known = _merge(known, items(program, target.module, value, depth - 2))
    return known


def _appended(program: Program, module: Module, node: ast.Name, depth: int) -> Items:
    """What `.append` puts into a list that starts out empty, and the conditions under which it does."""
    known = Items()
    for inner in ast.walk(module.scope(node)):
        if not (isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.args):
            continue
        if inner.func.attr == "append" and dotted(inner.func.value) == node.id:
            element = tuple(readings(program, module, inner.args[0], depth - 3))
            inside = [hole.items for reading in element for hole in reading.holes if hole.items]
            tests = [a.test for a in module.ancestors(inner) if isinstance(a, ast.If)]
            known = _merge(known, Items(element, strings_in(program, module, [inner.args[0], *tests])))
            for found in inside:
                known = _merge(known, found)
    return known


def strings_in(program: Program, module: Module, nodes: list[ast.expr]) -> frozenset[str]:
    """String constants in expressions, those behind the variables and one-line helpers they use included."""
    found: set[str] = set()
    for node in nodes:
        for inner in ast.walk(node):
            found |= texts(inner)
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
                for binding in module.lookup(inner.id, inner)[:2]:
                    if binding.kind == "assign" and binding.value is not None:
                        found.update(s for n in ast.walk(binding.value) for s in texts(n))
            elif isinstance(inner, ast.Call) and (target := program.target(Call(module, inner))) is not None:
                found.update(s for n in ast.walk(target.function) for s in texts(n))
    return frozenset(found)
