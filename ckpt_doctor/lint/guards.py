"""Under which circumstances a piece of code runs: conditions, flags, locks, loops."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from typing import NamedTuple

from ckpt_doctor.lint.bindings import COMPREHENSIONS, FUNCTIONS, LOOPS, Function
from ckpt_doctor.lint.module import Module, Site
from ckpt_doctor.lint.nodes import dotted
from ckpt_doctor.lint.program import Program, remembered

_CALLER_DEPTH = 4
_OPTION_OBJECTS = frozenset(
    {"args", "arg", "opt", "opts", "options", "cfg", "config", "configs", "conf", "hparams", "params", "flags"}
)
# Options that say what to train, not whether to delete.
_TRAINING_WORDS = frozenset(
    "train training pretraining rank main process epoch epochs step steps itr iter iters model data task mode device "  # noqa: SIM905
    "gpu use checkpoint checkpoints ckpt dir path distributed".split()
)
CHOICE_WORDS = frozenset(
    "delete del remove rm clean cleanup clear keep overwrite reset fresh scratch purge wipe force confirm confirmed "  # noqa: SIM905
    "answer yes resume debug dry dryrun discard preserve restart erase".split()
)
_ASKING = frozenset({"input", "confirm", "prompt", "getenv", "environ", "argv", "yesno", "ask"})
_EXISTS = re.compile(r"(^|\.)(exists|lexists|isdir|isfile|is_dir|is_file)$")
_LOCK_WORDS = frozenset({"lock", "locked", "flock", "filelock", "lockf", "mutex", "portalocker", "lockfile"})


class Condition(NamedTuple):
    """A test that must come out one way for a node to run."""

    test: ast.expr
    holds: bool


def words(name: str) -> set[str]:
    """The lower-case words of an identifier: `deleteCheckpoints`, `delete_checkpoints` -> {delete, checkpoints}."""
    return {w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def conditions(module: Module, node: ast.AST, within: ast.AST | None = None) -> list[Condition]:
    """The tests that decide within its function (or within a given loop) whether a node runs, innermost first."""
    found: list[Condition] = []
    child = node
    for parent in module.ancestors(node):
        if isinstance(parent, (ast.If, ast.IfExp, ast.While)) and child is not parent.test:
            in_body = child is parent.body if isinstance(parent, ast.IfExp) else child in parent.body
            found.append(Condition(parent.test, in_body))
        elif isinstance(parent, ast.BoolOp):
            before = parent.values[: parent.values.index(child)] if child in parent.values else []
            found += [Condition(value, isinstance(parent.op, ast.And)) for value in before]
        elif isinstance(parent, COMPREHENSIONS):
            found += [Condition(test, True) for generator in parent.generators for test in generator.ifs]
        elif isinstance(parent, ast.Match):
            found.append(Condition(parent.subject, True))
        found += [Condition(test, False) for test in _exits_before(module, child)]
        if parent is within or isinstance(parent, (*FUNCTIONS, ast.Lambda)):
            break
        child = parent
    return found


def _exits_before(module: Module, statement: ast.AST) -> list[ast.expr]:
    """Tests of earlier statements in the same block that leave it: `if not args.delete: return`."""
    block, at = module.places.get(statement, (-1, 0))
    return [exit_.test for index, exit_ in module.exits.get(block, ()) if index < at]


def is_option(name: str) -> bool:
    """Whether a dotted name is a setting of the run: `args.epochs`, `self.cfg.path`."""
    owners = name.split(".")[:-1]
    return bool(owners) and bool(words(owners[-1]) & _OPTION_OBJECTS)


def is_choice(program: Program, module: Module, condition: Condition) -> bool:
    """Whether a test lets someone decide (a flag, a setting, a question) or makes the code dead.

    Tests for existing files, the main process or the training mode decide nothing of the kind.
    """
    constant = _constant(program, module, condition.test)
    if constant is not None:
        return constant != condition.holds
    # `os.path.exists(folder)` asks for a folder, wherever its name comes from
    asked_of = {
        part
        for call in ast.walk(condition.test)
        if isinstance(call, ast.Call) and _EXISTS.search(dotted(call.func))
        for part in ast.walk(call)
    }
    for node in ast.walk(condition.test):
        name = dotted(node) if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) else ""
        if not name:
            continue
        leaf = name.rsplit(".", 1)[-1]
        if words(leaf) & CHOICE_WORDS or words(name) & _ASKING:
            return True
        if is_option(name) and not words(leaf) & _TRAINING_WORDS:
            return True
        if (
            isinstance(node, ast.Name)
            and node not in asked_of
            and (_is_switch(module, node) or _comes_from_a_choice(module, node))
        ):
            return True
    return False


def _is_switch(module: Module, node: ast.Name) -> bool:
    """A parameter that is False, True or None unless a caller says otherwise."""
    return any(
        b.kind == "param" and isinstance(b.value, ast.Constant) and b.value.value in (False, True, None)
        for b in module.lookup(node.id, node)
    )


def _comes_from_a_choice(module: Module, node: ast.Name) -> bool:
    values = [b.value for b in module.lookup(node.id, node) if b.kind == "assign" and b.value is not None]
    called = (n for value in values for n in ast.walk(value) if isinstance(n, (ast.Call, ast.Subscript)))
    return any(words(dotted(c.func) if isinstance(c, ast.Call) else dotted(c.value)) & _ASKING for c in called)


def _constant(program: Program, module: Module, test: ast.expr) -> bool | None:
    """The truth of a test that reading alone settles: `False`, `0`, a name assigned once to a constant."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _constant(program, module, test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, ast.Name):
        values = program.values_of(module, test)
        if len(values) == 1 and values[0].kind == "assign" and isinstance(values[0].value, ast.Constant):
            return bool(values[0].value.value)
    return None


def is_guarded(program: Program, site: Site, depth: int = _CALLER_DEPTH) -> bool:
    """Whether a choice decides if a node runs, in its function or in all the calls of that function."""
    module, node = site
    if any(is_choice(program, module, condition) for condition in conditions(module, node)):
        return True
    return _of_all_callers(program, is_guarded, module.function(node), depth)


@remembered
def _of_all_callers(
    program: Program, holds: Callable[[Program, Site, int], bool], function: Function | None, depth: int
) -> bool:
    """Whether `holds` is true of all calls of a function; False where no call is in sight."""
    callers = program.callers(function) if function is not None and depth > 0 else []
    return bool(callers) and all(holds(program, call, depth - 1) for call in callers)


def is_locked(program: Program, site: Site, depth: int = _CALLER_DEPTH) -> bool:
    """Whether a lock is held at a node: `with lock:`, an earlier `acquire`, a decorator, or all callers hold one."""
    module, node = site
    for parent in module.ancestors(node):
        if isinstance(parent, (ast.With, ast.AsyncWith)) and any(
            _is_a_lock(program, module, item.context_expr) for item in parent.items
        ):
            return True
        if isinstance(parent, FUNCTIONS):
            if any(_names_a_lock(d) for d in parent.decorator_list):
                return True
            break
    function = module.function(node)
    if _first_lock(program, module, function or module.tree) < getattr(node, "lineno", 0):
        return True
    return _of_all_callers(program, is_locked, function, depth)


@remembered
def _first_lock(_program: Program, module: Module, scope: ast.AST) -> float:
    """The line in which a function or a script first takes a lock; infinite where it takes none."""
    return min((call.lineno for call in module.calls(scope) if _takes_a_lock(call)), default=math.inf)


def _is_a_lock(program: Program, module: Module, expression: ast.expr) -> bool:
    made = [b.value for b in program.values_of(module, expression) if b.kind == "assign" and b.value is not None]
    return any(map(_names_a_lock, [expression, *made]))


def _takes_a_lock(call: ast.Call) -> bool:
    """`lock.acquire()`, `fcntl.flock(f, LOCK_EX)`, `take_lock(run)`; `FileLock(path)` only makes one."""
    leaf = call.func.attr if isinstance(call.func, ast.Attribute) else dotted(call.func)
    if leaf == "acquire" or words(leaf) & {"flock", "lockf"}:
        return True
    return leaf.islower() and "lock" in words(leaf) and not words(leaf) & {"release", "exists", "is", "un"}


def _names_a_lock(expression: ast.expr) -> bool:
    names = (
        n.id if isinstance(n, ast.Name) else n.attr
        for n in ast.walk(expression)
        if isinstance(n, (ast.Name, ast.Attribute))
    )
    return any(words(name) & _LOCK_WORDS for name in names)


def innermost_loop(module: Module, node: ast.AST) -> ast.AST | None:
    """The `for` or `while` statement around a node in the same function."""
    for parent in module.ancestors(node):
        if isinstance(parent, LOOPS):
            return parent
        if isinstance(parent, FUNCTIONS):
            return None
    return None


def loop_of(program: Program, site: Site, depth: int = _CALLER_DEPTH) -> Site | None:
    """The innermost loop that a node runs in, looked for in its function, then around the calls of that function."""
    module, node = site
    loop = innermost_loop(module, node)
    if loop is not None:
        return Site(module, loop)
    function = module.function(node)
    return _loop_of_callers(program, function, depth) if function is not None and depth > 0 else None


@remembered
def _loop_of_callers(program: Program, function: ast.AST, depth: int) -> Site | None:
    loops = (loop_of(program, call, depth - 1) for call in program.callers(function))
    return next((found for found in loops if found is not None), None)


def comes_first(module: Module, one: ast.AST, other: ast.AST) -> bool:
    """Whether one node's statement comes before the other's in a block that contains both."""
    places = module.places
    held = dict(places[a] for a in (other, *module.ancestors(other)) if a in places)
    for above in (one, *module.ancestors(one)):
        block, index = places.get(above, (-1, 0))
        if block in held:
            return index < held[block]
    return False
