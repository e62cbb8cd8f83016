"""What a script does on a resume: where it goes on, what it labels a save with, what comes first when it saves."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from ckpt_doctor.lint.bindings import LOOPS
from ckpt_doctor.lint.counting import UNKNOWN, Origin, origins
from ckpt_doctor.lint.effects import saves
from ckpt_doctor.lint.guards import innermost_loop, words
from ckpt_doctor.lint.library import Library
from ckpt_doctor.lint.module import Call, Module, Site
from ckpt_doctor.lint.nodes import dotted, last_name, leaves
from ckpt_doctor.lint.program import Program, remembered
from ckpt_doctor.lint.saved_dicts import Content, contents
from ckpt_doctor.lint.schedule import is_absolute, is_scheduler_step
from ckpt_doctor.lint.source import NotPython, Source
from ckpt_doctor.types import Evidence, ScriptFacts, sets_first_rate

_RANGES = frozenset({"range", "trange", "count"})
_PASSING_ON = frozenset({"tqdm", "track", "trange", "enumerate", "iter"})
_CALLER_DEPTH = 4
_LABEL_WORDS = ("epoch", "epochs", "iter", "iteration", "step")
_T = TypeVar("_T")


def starts(path: Path) -> ScriptFacts | None:
    """Read from a training script where its resume starts, and what it saves as the label, before or after which step.

    Nothing is executed or imported; modules of the same repository that it uses are read with it. What the code leaves
    open, or answers in two ways, is None; None altogether where the file is not readable Python, or shows nothing.
    """
    library = Library({path.absolute(): path}, not path.is_absolute())
    module = library.open(path)
    if isinstance(module, NotPython):
        return None
    program = Program(module)
    try:
        facts = _facts(program, path)
    except RecursionError:  # expressions of thousands of levels, which the parser still takes
        return None
    return facts if facts != ScriptFacts(path) else None


def _facts(program: Program, path: Path) -> ScriptFacts:
    saved = [content for save in saves(program) for content in contents(program, save) if content.holds_optimizer]
    training = leading_to(program, [c for c in program.calls if _is_training(program, c)])
    key, resume = _resume(program, {key for content in saved for key in content.values}, training)
    key = key or _label_key(program, saved)
    return ScriptFacts(
        path,
        key,
        resume,
        _label(program, saved, key, training) if key is not None else None,
        _agreed(_orders(program)),
        _by_hand(program),
    )


def _by_hand(program: Program) -> Evidence[bool] | None:
    source = program.main.source
    number = sets_first_rate(source.text)
    return None if number is None else Evidence(True, _line_of(source, number))


def _line(site: Site) -> str:
    """`train.py:12: start_epoch = ckpt['epoch'] + 1`: the line in which a node begins."""
    return _line_of(site.module.source, getattr(site.node, "lineno", 1))


def _line_of(source: Source, number: int) -> str:
    cell, line = source.locate(number)
    text = source.lines[number - 1].strip()
    return f"{source.path.name}:{line if cell is None else f'cell {cell}:{line}'}: {text}"


def _agreed(found: Iterator[Evidence[_T] | None]) -> Evidence[_T] | None:
    """The first of several answers where all are the same; None where they differ or one is None."""
    first = next(found, None)
    return first if first is not None and all(a is not None and a.value == first.value for a in found) else None


# --- where a resume goes on ------------------------------------------------------------------------------------------


def _resume(
    program: Program, keys: set[str], training: Calls
) -> tuple[str | None, Evidence[Literal["label", "label+1"]] | None]:
    """The label that a training loop starts from, and how: of the outermost loop that starts from one."""
    found: dict[str, list[Evidence[Literal["label", "label+1"]] | None]] = {}
    for module, loop in program.nodes:
        if not isinstance(loop, LOOPS):
            continue
        given = list(_first_rounds(program, module, loop))
        labels = {o.key for o in given if o.kind == "label" and (o.key in keys or not keys)}
        if not labels or not training.stand_in(module, loop):
            continue
        if len(labels) > 1:
            return None, None
        found.setdefault(labels.pop(), []).append(_how(given))
    key: str | None = next((k for word in _LABEL_WORDS for k in found if word in words(k)), next(iter(found), None))
    return key, _agreed(iter(found[key])) if key is not None else None


def _how(given: list[Origin]) -> Evidence[Literal["label", "label+1"]] | None:
    """The answer of one loop; None where an alternative is not known."""
    ways = [o for o in given if o.kind != "constant"]
    if len({(o.kind, o.key, o.offset) for o in ways}) != 1 or ways[0].at is None or ways[0].offset not in (0, 1):
        return None
    return Evidence("label+1" if ways[0].offset else "label", _line(ways[0].at))


def _first_rounds(program: Program, module: Module, loop: ast.AST) -> Iterator[Origin]:
    """What the first round of a loop is counted from."""
    if isinstance(loop, ast.While):
        for found in module.increments(loop).values():
            raised = [n for n in found if innermost_loop(module, n) is loop]
            if raised and isinstance(raised[0].target, (ast.Name, ast.Attribute)):
                yield from _before(program, module, loop, raised[0].target)
    elif isinstance(loop, (ast.For, ast.AsyncFor)):
        counter = dotted(loop.target)
        for part in ast.walk(loop.iter):
            if isinstance(part, ast.Call) and last_name(part.func) in _RANGES:
                if len(part.args) > 1 or dotted(part.func).endswith("count"):
                    for argument in part.args[:1]:
                        yield from origins(program, module, argument)
                break
        for statement in loop.body:
            test = statement.test if isinstance(statement, ast.If) and leaves(statement.body[-1]) else None
            if isinstance(test, ast.Compare) and len(test.ops) == 1 and dotted(test.left) == counter:
                past = {ast.Lt: 0, ast.LtE: 1}.get(type(test.ops[0]))
                if past is not None and isinstance(statement, ast.If) and isinstance(statement.body[-1], ast.Continue):
                    for origin in origins(program, module, test.comparators[0]):
                        yield Origin(origin.kind, origin.offset + past, origin.key, at=origin.at)


def _before(program: Program, module: Module, loop: ast.AST, name: ast.expr) -> Iterator[Origin]:
    """What a variable that a loop counts up is counted from when the loop begins."""
    bindings = module.lookup(name.id, loop) if isinstance(name, ast.Name) else program.values_of(module, name)
    for binding in bindings:
        inside = loop in module.ancestors(binding.node) or binding.node is loop
        if binding.kind == "assign" and binding.value is not None and not inside:
            yield from origins(program, module, binding.value)
        elif binding.kind != "augment" and not inside:
            yield UNKNOWN


# --- what a save is labelled with ------------------------------------------------------------------------------------


def _label_key(program: Program, saved: list[Content]) -> str | None:
    """The key of the round's number in a script that does not resume from it."""
    for word in _LABEL_WORDS:
        for content in saved:
            for key, (module, value) in content.values.items():
                if word in words(key) and any(o.kind == "round" for o in origins(program, module, value)):
                    return key
    return None


def _label(
    program: Program, saved: list[Content], key: str, training: Calls
) -> Evidence[Literal["finished", "next"]] | None:
    values = [content.values[key] for content in saved if key in content.values]
    return _agreed(_says(origin, training) for module, value in values for origin in origins(program, module, value))


def _says(origin: Origin, training: Calls) -> Evidence[Literal["finished", "next"]] | None:
    """What a label says of the round in which it is read."""
    if origin.kind != "round" or origin.at is None or origin.loop is None:
        return None
    trained = _is_trained(origin.at, origin.loop, training)
    if trained is None or origin.offset - trained not in (-1, 0):
        return None
    return Evidence("finished" if origin.offset < trained else "next", _line(origin.at))


def _is_trained(at: Site, loop: ast.AST, training: Calls) -> bool | None:
    """Whether a round has been trained where its number is read; None where that is not clear."""
    module, node = at
    if loop not in module.ancestors(node):
        return True
    return training.come_before(module, loop, node) if innermost_loop(module, node) is loop else None


def _is_training(program: Program, call: Call) -> bool:
    """Whether a call trains: `loss.backward()`, `optimizer.step()`, `train_one_epoch(...)` whose code is not in sight.

    `model.train()` only switches a mode.
    """
    func = call.node.func
    leaf = func.attr if isinstance(func, ast.Attribute) else dotted(func)
    if leaf == "backward":
        return True
    if leaf == "step" and isinstance(func, ast.Attribute):
        owner = words(last_name(func.value))
        return bool(owner & {"optimizer", "optim", "opt", "scaler"}) and not is_scheduler_step(program, call)
    switches = isinstance(func, ast.Attribute) and leaf == "train"
    return not switches and program.target(call) is None and bool(words(leaf) & {"train", "fit", "training"})


# --- what comes first ------------------------------------------------------------------------------------------------


def _orders(program: Program) -> Iterator[Evidence[bool] | None]:
    """For each save in a loop that steps the scheduler, directly or within: whether the step comes first."""
    steps = [call for call in program.calls if is_scheduler_step(program, call) and not is_absolute(call.node)]
    stepping = leading_to(program, steps)
    for save in saves(program):
        if not any(content.holds_optimizer for content in contents(program, save)):
            continue
        for place in _places(program, save.call):
            loop = innermost_loop(*place)
            if loop is not None and stepping.stand_in(place.module, loop):
                before = stepping.come_before(place.module, loop, place.node)
                yield Evidence(before, _line(place)) if before is not None else None


def _places(program: Program, call: Call) -> list[Call]:
    """A call that stands in a loop, or the calls by which loops come to it."""
    if innermost_loop(*call) is not None:
        return [call]
    function = call.module.function(call.node)
    return _calls_in_loops(program, function) if function is not None else []


@remembered
def _calls_in_loops(program: Program, function: ast.AST) -> list[Call]:
    """The calls in loops by which a program comes to a function, over up to four calls."""
    found: list[Call] = []
    rest: list[tuple[ast.AST, int]] = [(function, 1)]
    seen = {function}
    for called, depth in rest:
        for call in program.callers(called):
            outer = call.module.function(call.node)
            if innermost_loop(*call) is not None:
                found.append(call)
            elif outer is not None and outer not in seen and depth < _CALLER_DEPTH:
                seen.add(outer)
                rest.append((outer, depth + 1))
    return found


# --- calls of one kind: in which loops, before what -------------------------------------------------------------------


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
