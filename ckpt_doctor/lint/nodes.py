"""What single nodes of a syntax tree say."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_EXITS = ("sys.exit", "exit", "quit", "os._exit")


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


def last_name(node: ast.AST) -> str:
    """The last name of such a chain: `step` of `self.scheduler.step`."""
    return dotted(node).rpartition(".")[2]


def holder(statement: ast.AST | None) -> str:
    """The variable that an assignment gives a value; empty for any other statement."""
    return dotted(statement.targets[0]) if isinstance(statement, ast.Assign) else ""


def texts(node: ast.AST) -> set[str]:
    """The text that a node is, as a set; empty for anything else."""
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def leaves(statement: ast.AST) -> bool:
    """Whether a statement ends its block: return, continue, break, raise, `sys.exit()`."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return dotted(statement.value.func) in _EXITS
    return isinstance(statement, (ast.Return, ast.Continue, ast.Break, ast.Raise))


def returned(function: ast.AST) -> Iterator[ast.expr]:
    """What the `return` statements of a function, and of those defined in it, give back."""
    return (n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n.value is not None)
