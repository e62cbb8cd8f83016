"""X906 base-rate-from-epoch-0: a learning-rate base that a resumed run never gets to set."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ckpt_doctor.lint.effects import loads
from ckpt_doctor.lint.guards import innermost_loop
from ckpt_doctor.lint.module import Module, Site
from ckpt_doctor.lint.nodes import dotted
from ckpt_doctor.lint.program import Program, remembered
from ckpt_doctor.lint.rule import Hit

_RATE_SOURCE = re.compile(r"param_groups|get_last_lr|_last_lr|get_lr\b")
_RESUMING = re.compile(r"resum|start_?epoch|load_(state|checkpoint|ckpt)|restore", re.IGNORECASE)


def base_rate_from_epoch_0(program: Program) -> Iterator[Hit]:
    """The base learning rate is taken from the optimizer in epoch 0 only.

    ## What it does
    Looks in the epoch loop for `if epoch == 0:` under which a variable or option is set from the optimizer's or the
    scheduler's current rate, and which nothing else sets outside of that branch.

    ## Why it matters
    Severity warning: a run that resumes at epoch 1 or later never enters the branch, so the schedule computes its rates
    from the value given on the command line. Where OneCycleLR had lowered the optimizer's rate to `max_lr / 25` when it
    was built, the resumed run trains with 25 times the rate of the uninterrupted one. Severity info in a script that
    shows no sign of resuming: nothing is wrong until it learns to.

    ## Example
    ```python
    for epoch in range(start_epoch, args.train_epochs):
        ...
        if epoch == 0:
            args.learning_rate = optimizer.param_groups[0]["lr"]
        adjust_learning_rate(optimizer, epoch + 1, args)
    ```

    ## How to cure
    Set it before the loop, after loading: PyTorch keeps the first rate as `initial_lr` in the param groups.
    ```python
    args.learning_rate = optimizer.param_groups[0]["initial_lr"]
    ```
    Without touching the script: add `--learning_rate <initial_lr>` to the resume command, as `ckpt-doctor check` says.

    ## Source
    The public trainer's `run_main.py` and its `adjust_learning_rate`; `OneCycleLR.__init__` in
    `torch/optim/lr_scheduler.py` sets `initial_lr = max_lr / div_factor`, with `div_factor=25` by default.
    """
    if not any(_RATE_SOURCE.search(module.source.text) for module in program.modules):
        return
    for module, node in program.nodes:
        if not isinstance(node, ast.If) or not _is_first_epoch(module, node):
            continue
        for statement in node.body:
            if not isinstance(statement, ast.Assign) or not _RATE_SOURCE.search(ast.unparse(statement.value)):
                continue
            target = statement.targets[0]
            name = dotted(target)
            if not name or _set_elsewhere(program, module, node, name) or _stays_inside(program, module, node, target):
                continue
            source = re.sub(r"\[?['\"]lr['\"]\]?$", '["initial_lr"]', ast.unparse(statement.value))
            source = source if "initial_lr" in source else 'optimizer.param_groups[0]["initial_lr"]'
            yield Hit(
                Site(module, statement),
                f"only epoch 0 sets {name}: a run resumed at a later epoch keeps the value of the command line as its "
                "base and trains with another rate than the uninterrupted run.",
                f"{name} = {source}  # before the loop, after loading",
                severity=None if _resumes(program) else "info",
            )


def _is_first_epoch(module: Module, node: ast.If) -> bool:
    """`epoch == 0`, `not epoch`, `epoch < 1` on the variable of a loop around it."""
    tests = node.test.values if isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.And) else [node.test]
    targets: set[str] = set()
    loop = innermost_loop(module, node)
    while loop is not None:
        if isinstance(loop, (ast.For, ast.AsyncFor)):
            targets |= {n.id for n in ast.walk(loop.target) if isinstance(n, ast.Name)}
        elif isinstance(loop, ast.While):
            targets |= {n.id for n in ast.walk(loop.test) if isinstance(n, ast.Name)}
        loop = innermost_loop(module, loop)
    return any("epoch" in _compared_with_start(test) and _compared_with_start(test) in targets for test in tests)


def _compared_with_start(test: ast.expr) -> str:
    """The name that a test compares with the start of counting; empty when it is another test."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return dotted(test.operand)
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.comparators[0], ast.Constant):
        start = {ast.Eq: 0, ast.LtE: 0, ast.Lt: 1}.get(type(test.ops[0]))
        if start is not None and test.comparators[0].value == start:
            return dotted(test.left)
    return ""


def _set_elsewhere(program: Program, module: Module, branch: ast.If, name: str) -> bool:
    """Whether the same name gets a value anywhere else, before or inside the loop."""
    within = {node for statement in branch.body for node in ast.walk(statement)}
    return any(node not in within for node in _assigned(program, module).get(name, ()))


@remembered
def _assigned(_program: Program, module: Module) -> dict[str, list[ast.AST]]:
    """Name -> the statements that assign to it."""
    found: dict[str, list[ast.AST]] = {}
    for node in module.nodes(module.tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                found.setdefault(dotted(target), []).append(node)
    return found


def _stays_inside(program: Program, module: Module, branch: ast.If, target: ast.expr) -> bool:
    """Whether a plain variable is used in the branch alone: to be shown there, say."""
    if not isinstance(target, ast.Name):
        return False
    within = set(ast.walk(branch))
    uses = _uses(program, module, module.function(branch) or module.tree).get(target.id, ())
    return all(use in within for use in uses)


@remembered
def _uses(_program: Program, module: Module, scope: ast.AST) -> dict[str, list[ast.Name]]:
    """Variable -> where a piece of code reads it."""
    found: dict[str, list[ast.Name]] = {}
    for node in module.nodes(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.setdefault(node.id, []).append(node)
    return found


@remembered
def _resumes(program: Program) -> bool:
    if loads(program):
        return True
    for _, node in program.nodes:
        text = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("--"):
            text = node.value
        if _RESUMING.search(text):
            return True
    return False
