"""Calls of one kind and their places: in which loops, before what."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from ckpt_doctor.lint.module import Call, Module
from ckpt_doctor.lint.program import Program


class Calls:
    """A set of calls. Their places in a loop are found out once."""

    def __init__(self, nodes: Iterable[ast.AST]) -> None:
        self._nodes = frozenset(nodes)
        self._extents: dict[ast.AST, dict[int, tuple[int, int]]] = {}

    def stand_in(self, module: Module, loop: ast.AST) -> bool:
        """Whether one of the calls is in a loop."""
        return bool(self._extent(module, loop))

    def come_before(self, module: Module, loop: ast.AST, node: ast.AST) -> bool | None:
        """Whether the calls of a loop come before a node of it; None where some come after it, or none does either."""
        extent = self._extent(module, loop)
        before = after = False
        for above in (node, *module.ancestors(node)):
            block, index = module.places.get(above, (-1, 0))
            first, last = extent.get(block, (index, index))
            before = before or first < index
            after = after or last > index
        return before if before != after else None

    def _extent(self, module: Module, loop: ast.AST) -> dict[int, tuple[int, int]]:
        """Block -> the first and the last statement of it that contain a call of the loop."""
        if loop not in self._extents:
            found: dict[int, tuple[int, int]] = {}
            for call in module.calls(loop):
                for above in (call, *module.ancestors(call)) if call in self._nodes else ():
                    if above in module.places:
                        block, index = module.places[above]
                        first, last = found.get(block, (index, index))
                        found[block] = (min(first, index), max(last, index))
            self._extents[loop] = found
        return self._extents[loop]


def leading_to(program: Program, calls: list[Call]) -> Calls:
    """Calls, and all calls of the program by which it comes to one of them."""
    found: set[ast.AST] = {call.node for call in calls}
    rest = list(calls)
    seen: set[ast.AST] = set()
    for call in rest:
        function = call.module.function(call.node)
        if function is not None and function not in seen:
            seen.add(function)
            callers = [c for c in program.callers(function) if c.node not in found]
            found.update(c.node for c in callers)
            rest += callers
    return Calls(found)
