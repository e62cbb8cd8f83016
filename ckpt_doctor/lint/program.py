"""A script and the parts of other modules of its repository that it uses, with its call graph."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

from ckpt_doctor.lint.bindings import Binding, Function
from ckpt_doctor.lint.module import Call, Definition, External, Module, Site, method
from ckpt_doctor.lint.nodes import dotted

# A repository larger than this is followed only so far; nothing in a training script needs more.
_MAX_UNITS = 400
_CALL_DEPTH = 6

_Asked = ParamSpec("_Asked")
_Found = TypeVar("_Found")


@dataclass(frozen=True, eq=False)
class Target:
    """The function of the repository that a call runs."""

    module: Module
    function: Function
    bound: bool
    """Whether the first parameter is the instance, which the call does not write."""


class Program:
    """What runs, as far as reading shows, when a script is started or imported."""

    def __init__(self, main: Module) -> None:
        self.main = main
        self._targets: dict[ast.Call, Target | None] = {}
        self.answers: dict[object, Any] = {}
        """What the `remembered` functions, and those that follow definitions in circles, have found so far."""
        self.is_cut_off = False
        """Whether the script uses more of its repository than was followed."""

    @cached_property
    def units(self) -> list[Site]:
        """The script as a whole, then each function and class of other modules that it refers to, transitively."""
        units = [Site(self.main, self.main.tree)]
        seen: set[ast.AST] = {self.main.tree}
        for unit in units:
            for definition in unit.module.references(unit.node):
                inside = definition.module is self.main or definition.node in seen
                if inside:
                    continue
                if len(units) >= _MAX_UNITS:
                    self.is_cut_off = True
                    return units
                seen.add(definition.node)
                units.append(Site(definition.module, definition.node))
        return units

    @cached_property
    def modules(self) -> list[Module]:
        """The modules that have a unit in the program, the script first."""
        return list(dict.fromkeys(unit.module for unit in self.units))

    @cached_property
    def nodes(self) -> list[Site]:
        """Every node of every unit once."""
        found: dict[ast.AST, Module] = {}
        for unit in self.units:
            found.update((node, unit.module) for node in unit.module.nodes(unit.node))
        return [Site(module, node) for node, module in found.items()]

    @cached_property
    def calls(self) -> list[Call]:
        """Every call of every unit once."""
        found = {call: unit.module for unit in self.units for call in unit.module.calls(unit.node)}
        return [Call(module, call) for call, module in found.items()]

    @cached_property
    def classes(self) -> list[Definition]:
        """Every class of every unit."""
        found = {node: unit.module for unit in self.units for node in unit.module.classes(unit.node)}
        return [Definition(module, node) for node, module in found.items()]

    def once(self, question: object, node: ast.AST, circle: _Found, find: Callable[[], _Found]) -> _Found:
        """The answer to a question about a node, found once; `circle` is what a definition in terms of itself sees."""
        known: dict[ast.AST, _Found] = self.answers.setdefault(question, {})
        if node not in known:
            known[node] = circle
            known[node] = find()
        return known[node]

    def name_of(self, call: Call) -> str:
        """The full dotted name of what is called (`shutil.rmtree`), aliases and imports resolved; else as written."""
        symbol = call.module.resolve(call.node.func)
        return symbol.name if isinstance(symbol, External) else dotted(call.node.func)

    def target(self, call: Call) -> Target | None:
        """The function that a call runs, where it is one of the repository."""
        if call.node not in self._targets:
            self._targets[call.node] = self._find_target(call.module, call.node.func)
        return self._targets[call.node]

    def _find_target(self, module: Module, func: ast.expr) -> Target | None:
        symbol = module.resolve(func)
        if isinstance(symbol, Definition):
            if isinstance(symbol.node, ast.ClassDef):
                found = method(symbol, "__init__")
                return _bound(found)
            # `Class.method(instance)` passes the instance in writing; `module.function()` has none.
            return Target(symbol.module, symbol.node, bound=False)
        if isinstance(func, ast.Attribute):
            owner = self.class_of_value(module, func.value)
            if owner is not None and (found := method(owner, func.attr)):
                return _bound(found)
        owner = self.class_of_value(module, func)
        return _bound(method(owner, "__call__")) if owner is not None else None

    def class_of_value(self, module: Module, value: ast.expr, depth: int = 4) -> Definition | None:
        """The class of the repository that a variable or attribute holds an instance of."""
        if isinstance(value, ast.Call):
            symbol = module.resolve(value.func)
            return symbol if isinstance(symbol, Definition) and isinstance(symbol.node, ast.ClassDef) else None
        name = dotted(value)
        if not name or depth <= 0:
            return None
        if name == "self":
            owner = module.class_of(value)
            return Definition(module, owner) if owner is not None else None
        for binding in self.values_of(module, value):
            if isinstance(binding.value, ast.Call) or (
                binding.kind == "assign" and isinstance(binding.value, (ast.Name, ast.Attribute))
            ):
                found = self.class_of_value(module, binding.value, depth - 1)
                if found:
                    return found
            elif binding.kind != "param":
                return None
        # A parameter named as its class: `early_stopping` is an `EarlyStopping`.
        return self._class_named.get(re.sub(r"[^a-z]", "", name.rsplit(".", 1)[-1].lower()))

    @cached_property
    def _class_named(self) -> dict[str, Definition]:
        return {c.node.name.lower().lstrip("_"): c for c in reversed(self.classes)}

    def values_of(self, module: Module, expression: ast.expr) -> list[Binding]:
        """The bindings of a variable or of a dotted name such as `self.path`."""
        if isinstance(expression, ast.Name):
            return module.lookup(expression.id, expression)
        name = dotted(expression)
        owner = module.class_of(expression) if name.startswith("self.") else None
        if owner is not None:
            return module.own_attributes.get((owner, name)) or module.bindings(owner).get(name[5:], [])
        return module.attributes.get(name, [])

    @cached_property
    def _callers(self) -> dict[ast.AST, list[Call]]:
        callers: dict[ast.AST, list[Call]] = {}
        for call in self.calls:
            target = self.target(call)
            if target is not None:
                callers.setdefault(target.function, []).append(call)
        return callers

    def callers(self, function: ast.AST) -> list[Call]:
        """The calls of a function within the program."""
        return self._callers.get(function, [])

    def arguments(self, function: Function, parameter: str) -> list[tuple[Call, ast.expr]]:
        """What each call of a function passes for a parameter, where it can be told; its default is not among them."""
        found: list[tuple[Call, ast.expr]] = []
        for call in self.callers(function):
            target = self.target(call)
            if target is None:
                continue
            value = argument(call.node, function, parameter, bound=target.bound)
            if value is not None:
                found.append((call, value))
        return found

    def run_by(self, module: Module, function: ast.AST) -> Iterator[Call]:
        """The calls in a function, and those that they lead to."""
        seen = {function}
        stack = [(Call(module, node), _CALL_DEPTH - 1) for node in module.calls(function)]
        while stack:
            current, left = stack.pop()
            yield current
            target = self.target(current)
            if target is None or target.function in seen or left <= 0:
                continue
            seen.add(target.function)
            stack += [(Call(target.module, n), left - 1) for n in target.module.calls(target.function)]

    @cached_property
    def option_defaults(self) -> dict[str, ast.expr]:
        """argparse and click options: destination -> its default expression."""
        found: dict[str, ast.expr] = {}
        for call in self.calls:
            func = call.node.func
            if not (isinstance(func, ast.Attribute) and func.attr in ("add_argument", "option")):
                continue
            flags = [a.value for a in call.node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            options = {k.arg: k.value for k in call.node.keywords}
            dest = options.get("dest")
            name = dest.value if isinstance(dest, ast.Constant) else next((f for f in flags if f.startswith("--")), "")
            if isinstance(name, str) and name and "default" in options:
                found[name.lstrip("-").replace("-", "_")] = options["default"]
        return found


def remembered(
    find: Callable[Concatenate[Program, _Asked], _Found],
) -> Callable[Concatenate[Program, _Asked], _Found]:
    """A function that finds each answer once per program. The answers are shared: nobody changes them."""

    def ask(program: Program, /, *asked: _Asked.args, **named: _Asked.kwargs) -> _Found:
        key = (find, asked, *named.items())
        if key not in program.answers:
            program.answers[key] = find(program, *asked, **named)
        found: _Found = program.answers[key]
        return found

    update_wrapper(ask, find)
    return ask


def _bound(found: Definition | None) -> Target | None:
    if found is None or isinstance(found.node, ast.ClassDef):
        return None
    static = any(dotted(d) == "staticmethod" for d in found.node.decorator_list)
    return Target(found.module, found.node, bound=not static)


def argument(call: ast.Call, function: Function, parameter: str, *, bound: bool) -> ast.expr | None:
    """The expression that a call passes for a parameter; None where it passes none or unpacks."""
    for keyword in call.keywords:
        if keyword.arg == parameter:
            return keyword.value
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)][1 if bound else 0 :]
    if parameter in names and (position := names.index(parameter)) < len(call.args):
        before = call.args[: position + 1]
        if not any(isinstance(a, ast.Starred) for a in before):
            return before[-1]
    return None
