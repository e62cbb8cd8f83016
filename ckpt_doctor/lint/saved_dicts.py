"""The dicts that a script saves as checkpoints."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from ckpt_doctor.lint.bindings import FUNCTIONS, walk_scope
from ckpt_doctor.lint.effects import Save, is_of_optimizer
from ckpt_doctor.lint.guards import words
from ckpt_doctor.lint.module import Call, Module, Site
from ckpt_doctor.lint.nodes import dotted
from ckpt_doctor.lint.program import Program, remembered
from ckpt_doctor.lint.state import EARLY_STOPPING, EarlyStopping
from ckpt_doctor.types import NotChecked

_DEPTH = 10
_MAX_CONTENTS = 32


@dataclass
class Content:
    """The keys of a saved dict."""

    site: Site
    """Where the dict is written."""
    values: dict[str, tuple[Module, ast.expr]] = field(default_factory=dict)
    is_open: bool = False
    """Whether it may have keys that reading does not show."""

    def unread(self, code: str) -> NotChecked:
        """That a rule cannot tell, because the dict may have other keys."""
        place = f"{self.site.module.path}:{getattr(self.site.node, 'lineno', 0)}"
        why = "the saved dict is built in a way that reading the code cannot follow"
        return NotChecked(f"{code} at {place}", why, "write its keys as literals")

    def mentions(self, name: str) -> bool:
        """Whether a key is that name, or a value is the variable or attribute of that name."""
        return name in self.values or any(
            name == (part.attr if isinstance(part, ast.Attribute) else part.id)
            for _, value in self.values.values()
            for part in ast.walk(value)
            if isinstance(part, (ast.Attribute, ast.Name))
        )

    def key_of(self, name: str) -> str:
        """The key under which a piece of state is saved."""
        if name in self.values:
            return name
        for key, (_, value) in self.values.items():
            parts = (p.attr if isinstance(p, ast.Attribute) else getattr(p, "id", "") for p in ast.walk(value))
            if name in parts:
                return key
        return name

    @property
    def holds_optimizer(self) -> bool:
        """Whether training can be resumed from it: it has the optimizer's state."""
        return any("optim" in key.lower() for key in self.values) or any(
            is_of_optimizer(inner, "state_dict")
            for _, value in self.values.values()
            for inner in ast.walk(value)
            if isinstance(inner, ast.Call)
        )

    @property
    def holds_scheduler(self) -> bool:
        """Whether it has the state of a learning-rate schedule."""
        return any("sched" in key.lower() for key in self.values) or any(
            "sched" in dotted(value).lower() or (isinstance(value, ast.Call) and "sched" in dotted(value.func).lower())
            for _, value in self.values.values()
        )

    def holds_whole(self, stopping: EarlyStopping) -> bool:
        """Whether it has the early stopping object's state as a whole."""
        return any(
            stopping.is_whole(value) or (EARLY_STOPPING.search(key) and not isinstance(value, ast.Constant))
            for key, (_, value) in self.values.items()
            if not isinstance(value, ast.Dict)
        )

    @property
    def holds_rng(self) -> bool:
        """Whether it has the random generators' state."""
        return any("rng" in w or "random" in w for key in self.values for w in words(key))


def contents(program: Program, save: Save) -> list[Content]:
    """The dicts that a save may write; empty where it writes something else."""
    return _contents(program, save.call.module, save.content, _DEPTH)


@remembered
def _contents(program: Program, module: Module, node: ast.expr, depth: int) -> list[Content]:
    """The dicts that an expression may be, each once."""
    distinct: dict[object, Content] = {}
    for found in _read(program, module, node, depth) if depth > 0 else ():
        values = tuple((key, value) for key, (_, value) in found.values.items())
        distinct.setdefault((found.site.node, values, found.is_open), found)
        if len(distinct) == _MAX_CONTENTS:
            break
    return list(distinct.values())


def _read(program: Program, module: Module, node: ast.expr, depth: int) -> Iterator[Content]:
    if isinstance(node, ast.Dict):
        yield _of_literal(program, module, node, depth)
    elif isinstance(node, ast.Call):
        yield from _of_call(program, module, node, depth)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        for left in _contents(program, module, node.left, depth - 1):
            for right in _contents(program, module, node.right, depth - 1) or [Content(left.site, is_open=True)]:
                yield Content(left.site, {**left.values, **right.values}, left.is_open or right.is_open)
    elif isinstance(node, ast.IfExp):
        yield from _contents(program, module, node.body, depth - 1)
        yield from _contents(program, module, node.orelse, depth - 1)
    elif isinstance(node, ast.Starred) and (function := module.function(node)) is not None:
        # `def save_on_master(*args): torch.save(*args)`: the first argument of each call
        for call in program.callers(function)[:8]:
            for argument in call.node.args[:1]:
                yield from _contents(program, call.module, argument, depth - 1)
    elif isinstance(node, (ast.Name, ast.Attribute)):
        for binding in program.values_of(module, node)[:4]:
            if binding.kind == "param" and isinstance(binding.node, FUNCTIONS):
                for call, value in program.arguments(binding.node, dotted(node))[:8]:
                    yield from _contents(program, call.module, value, depth - 1)
            elif binding.kind == "assign" and binding.value is not None:
                made = _contents(program, module, binding.value, depth - 1)
                if made:
                    later = _later_keys(program, module, module.function(node) or module.tree, dotted(node), depth)
                    yield from (_joined(content, later) for content in made)


def _of_literal(program: Program, module: Module, node: ast.Dict, depth: int) -> Content:
    content = Content(Site(module, node))
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            _unpack(program, module, value, content, depth)
        elif isinstance(key, ast.Constant):
            content.values[str(key.value)] = (module, value)
            may_nest = isinstance(value, (ast.Dict, ast.Name))
            for inner in _contents(program, module, value, depth - 1) if may_nest else ():
                content.values = {**inner.values, **content.values}
                content.is_open = content.is_open or inner.is_open
        else:
            content.is_open = True
    return content


def _unpack(program: Program, module: Module, value: ast.expr, content: Content, depth: int) -> None:
    inner = _contents(program, module, value, depth - 1)
    content.is_open = content.is_open or not inner
    for part in inner:
        content.values.update(part.values)
        content.is_open = content.is_open or part.is_open


def _of_call(program: Program, module: Module, node: ast.Call, depth: int) -> Iterator[Content]:
    if dotted(node.func) in ("dict", "OrderedDict", "collections.OrderedDict"):
        content = Content(Site(module, node))
        for argument in node.args:
            _unpack(program, module, argument, content, depth)
        for keyword in node.keywords:
            if keyword.arg is None:
                _unpack(program, module, keyword.value, content, depth)
            else:
                content.values[keyword.arg] = (module, keyword.value)
        yield content
        return
    target = program.target(Call(module, node))
    for inner in walk_scope(target.function) if target is not None else ():
        if target is not None and isinstance(inner, ast.Return) and inner.value is not None:
            yield from _contents(program, target.module, inner.value, depth - 2)


def _joined(content: Content, later: Content) -> Content:
    return Content(content.site, {**content.values, **later.values}, content.is_open or later.is_open)


@remembered
def _later_keys(program: Program, module: Module, scope: ast.AST, name: str, depth: int) -> Content:
    """What a dict gets after it was made: `state["best_score"] = x`, `state.update(...)`, `state |= {...}`."""
    content = Content(Site(module, scope))
    for inner in _changes(program, module, scope).get(name, ()):
        if isinstance(inner, ast.Assign):
            for target in inner.targets:
                if isinstance(target, ast.Subscript) and dotted(target.value) == name:
                    if isinstance(target.slice, ast.Constant):
                        content.values[str(target.slice.value)] = (module, inner.value)
                    else:
                        content.is_open = True
        elif isinstance(inner, ast.AugAssign):
            _unpack(program, module, inner.value, content, depth)
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute):
            if inner.func.attr == "update":
                for argument in inner.args:
                    _unpack(program, module, argument, content, depth)
                content.values.update({k.arg: (module, k.value) for k in inner.keywords if k.arg})
            elif len(inner.args) == 2 and isinstance(inner.args[0], ast.Constant):
                content.values[str(inner.args[0].value)] = (module, inner.args[1])
    return content


@remembered
def _changes(_program: Program, module: Module, scope: ast.AST) -> dict[str, list[ast.AST]]:
    """Variable -> what may change a dict that it holds."""
    found: dict[str, list[ast.AST]] = {}
    for node in module.nodes(scope):
        changed: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            changed = [target.value for target in node.targets if isinstance(target, ast.Subscript)]
        elif isinstance(node, ast.AugAssign):
            changed = [node.target]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            changed = [node.func.value] if node.func.attr in ("setdefault", "update") else []
        for name in {dotted(variable) for variable in changed}:
            found.setdefault(name, []).append(node)
    return found
