"""What a counter is counted from: the round of a loop, or the label of a loaded checkpoint, and how far off it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ckpt_doctor.lint.bindings import FUNCTIONS, LOOPS, Binding
from ckpt_doctor.lint.guards import comes_first, innermost_loop, is_option
from ckpt_doctor.lint.module import Call, Module, Site
from ckpt_doctor.lint.nodes import dotted
from ckpt_doctor.lint.program import Program

_DEPTH = 12
_MAX_VALUES = 8
_SAME = frozenset({"int", "item", "abs"})


@dataclass(frozen=True)
class Origin:
    """One thing that a number may be."""

    kind: Literal["label", "round", "constant", "unknown"]
    offset: int = 0
    """What is added to it."""
    key: str = ""
    """Of a label: the key under which a checkpoint holds it."""
    loop: ast.AST | None = None
    """Of a round: the loop whose passes it counts."""
    at: Site | None = None
    """Of a round: where it is read; of a label: where it is taken out of the checkpoint."""


UNKNOWN = Origin("unknown")


def origins(program: Program, module: Module, node: ast.expr, depth: int = _DEPTH) -> list[Origin]:
    """What the value of an expression may be counted from, unknown ones included; none of a mere circle."""
    if depth <= 0:
        return [UNKNOWN]
    return program.once(
        origins, node, [], lambda: list(dict.fromkeys(_origins(program, module, node, depth - 1)))[: 2 * _MAX_VALUES]
    )


def _origins(program: Program, module: Module, node: ast.expr, depth: int) -> Iterator[Origin]:
    if isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Constant):
        yield Origin("constant")
    elif isinstance(node, ast.BinOp) and (shift := _shift(node)) is not None:
        inner = node.left if isinstance(node.right, ast.Constant) else node.right
        for origin in origins(program, module, inner, depth):
            yield replace(origin, offset=origin.offset + shift)
    elif isinstance(node, ast.IfExp):
        yield from origins(program, module, node.body, depth)
        yield from origins(program, module, node.orelse, depth)
    elif isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        for value in node.values[:_MAX_VALUES]:
            yield from origins(program, module, value, depth)
    elif isinstance(node, ast.Call):
        yield from _of_call(program, module, node, depth)
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        yield Origin("label", key=node.slice.value, at=Site(module, node))
    elif isinstance(node, (ast.Name, ast.Attribute)):
        yield from _of_variable(program, module, node, depth)
    else:
        yield UNKNOWN


def _shift(node: ast.BinOp) -> int | None:
    """1 of `x + 1` and `1 + x`, -1 of `x - 1`; None of anything else."""
    constant = node.right if isinstance(node.right, ast.Constant) else node.left
    if not (isinstance(constant, ast.Constant) and type(constant.value) is int):
        return None
    if isinstance(node.op, ast.Add):
        return constant.value
    return -constant.value if isinstance(node.op, ast.Sub) and constant is node.right else None


def _of_call(program: Program, module: Module, node: ast.Call, depth: int) -> Iterator[Origin]:
    func = node.func
    leaf = func.attr if isinstance(func, ast.Attribute) else dotted(func)
    key = node.args[0] if node.args else None
    if leaf in ("get", "pop") and isinstance(key, ast.Constant) and isinstance(key.value, str):
        yield Origin("label", key=key.value, at=Site(module, node))
    elif leaf in _SAME and (node.args or isinstance(func, ast.Attribute)):
        yield from origins(program, module, node.args[0] if node.args else getattr(func, "value", node), depth)
    elif program.target(Call(module, node)) is not None:
        yield from _returned(program, module, node, None, depth)
    else:
        yield UNKNOWN


def _returned(program: Program, module: Module, call: ast.Call, place: int | None, depth: int) -> Iterator[Origin]:
    """What a function returns, or one place of the tuple that it returns."""
    target = program.target(Call(module, call))
    found = (
        [n.value for n in target.module.nodes(target.function) if isinstance(n, ast.Return)]
        if target is not None
        else []
    )
    if target is None or not found:
        yield UNKNOWN
        return
    for value in found[:_MAX_VALUES]:
        if place is not None:
            fits = isinstance(value, ast.Tuple) and place < len(value.elts)
            value = value.elts[place] if fits and isinstance(value, ast.Tuple) else None
        if value is None:
            yield UNKNOWN
        else:
            yield from origins(program, target.module, value, depth)


def _of_variable(program: Program, module: Module, node: ast.Name | ast.Attribute, depth: int) -> Iterator[Origin]:
    name = dotted(node)
    for loop in (a for a in module.ancestors(node) if isinstance(a, LOOPS)):
        if (round_ := counted(module, loop, name, node)) is not None:
            yield round_
            return
    values = program.values_of(module, node)
    if isinstance(node, ast.Attribute) and is_option(name):
        values = [b for m in program.modules for b in m.attributes.get(name, [])]
        if not values:
            yield Origin("constant")  # someone gives it on the command line
    elif not values:
        yield UNKNOWN
    for binding in values[:_MAX_VALUES]:
        yield from _of_binding(program, module, node, binding, depth)


def counted(module: Module, loop: ast.AST, name: str, at: ast.expr) -> Origin | None:
    """The round of a loop that a name counts, as it is read at a node within the loop; None where it counts none."""
    if isinstance(loop, (ast.For, ast.AsyncFor)) and dotted(loop.target) == name:
        return Origin("round", loop=loop, at=Site(module, at))
    raised = [n for n in module.increments(loop).get(name, []) if innermost_loop(module, n) is loop]
    if not raised:
        return None
    (step, *more) = raised
    if more or module.parents.get(step) is not loop:
        return UNKNOWN
    if comes_first(module, step, at):
        return Origin("round", 1, loop=loop, at=Site(module, at))
    return Origin("round", loop=loop, at=Site(module, at)) if comes_first(module, at, step) else UNKNOWN


def _of_binding(
    program: Program, module: Module, node: ast.Name | ast.Attribute, binding: Binding, depth: int
) -> Iterator[Origin]:
    name = dotted(node)
    made = binding.node
    if binding.kind == "assign" and binding.value is not None:
        home = next((m for m in program.modules if made in m.parents), module)
        yield from origins(program, home, binding.value, depth)
    elif binding.kind == "item" and isinstance(made, ast.For) and dotted(made.target) == name:
        yield Origin("round", loop=made, at=Site(module, node))
    elif binding.kind == "param" and isinstance(made, FUNCTIONS):
        given = program.arguments(made, name)
        for call, value in given[:_MAX_VALUES]:
            yield from origins(program, call.module, value, depth)
        if binding.value is not None and len(given) < len(program.callers(made)):
            yield from origins(program, module, binding.value, depth)
        if not given:
            yield UNKNOWN
    elif binding.kind == "other" and isinstance(made, ast.Assign) and isinstance(made.value, ast.Call):
        target = made.targets[0]
        names = [dotted(element) for element in getattr(target, "elts", [])]
        yield from _returned(program, module, made.value, names.index(name) if name in names else None, depth)
    else:
        yield UNKNOWN
