"""What a script keeps for early stopping, and what it reads back from its checkpoints."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from ckpt_doctor.lint.bindings import FUNCTIONS, walk_scope
from ckpt_doctor.lint.effects import is_of_optimizer
from ckpt_doctor.lint.module import Definition, External, Module
from ckpt_doctor.lint.nodes import dotted, holder, texts
from ckpt_doctor.lint.program import Program, remembered

_BEST = re.compile(r"^_*(best|min|lowest|highest)(_|$)|_(best|min)$|^_*best[A-Z]")
COUNTER = re.compile(
    r"^_*(counter|wait|waited|patience_counter|es_counter|bad_epochs)$|no_improve|num_bad|not_improved|without_improve|since_(best|improve)"
)
_STATE_METHOD = re.compile(r"state|dict|config|serial", re.IGNORECASE)
_CONVERSIONS = ("float", "int", "str", "bool", "len", "repr", "print")
_STOPPING = re.compile(r"patien|stop|give_up", re.IGNORECASE)
_SCHEDULING = re.compile(r"sched|plateau|warmup|anneal", re.IGNORECASE)
EARLY_STOPPING = re.compile(r"early_?stop", re.IGNORECASE)
# Frameworks whose early stopping is a callback that they save themselves.
_FRAMEWORKS = (
    "lightning",
    "pytorch_lightning",
    "transformers",
    "ignite",
    "keras",
    "tensorflow",
    "fastai",
    "catalyst",
    "composer",
    "mmengine",
)


@dataclass(frozen=True)
class EarlyStopping:
    """The state by which a script decides to save the best model and to stop."""

    fields: dict[str, bool]
    """Name -> whether a decision compares it (otherwise it is only shown)."""
    variable: str
    """How the script names the object; empty where the state is in plain variables."""
    owner: Definition | None = None
    others: frozenset[str] = frozenset()
    """Further names of an object of that class."""

    def is_object(self, node: ast.AST) -> bool:
        """Whether an expression is the object itself, not something of it."""
        name = dotted(node)
        return bool(name) and (
            name in ({self.variable} | self.others) or bool(EARLY_STOPPING.search(name.rsplit(".", 1)[-1]))
        )

    def is_whole(self, node: ast.AST) -> bool:
        """Whether an expression has all of the object's state: it, its `__dict__`, `state_dict()`, `vars` of it."""
        if self.is_object(node):
            return True
        if isinstance(node, ast.Attribute):
            return node.attr == "__dict__" and self.is_object(node.value)
        if not isinstance(node, ast.Call):
            return False
        if isinstance(node.func, ast.Attribute):
            of_it = _STATE_METHOD.search(node.func.attr) and self.is_object(node.func.value)
            if of_it or (node.func.attr == "copy" and self.is_whole(node.func.value)):
                return True
        return dotted(node.func) not in _CONVERSIONS and any(map(self.is_whole, node.args))


def early_stopping(program: Program) -> EarlyStopping | None:
    """The script's own early stopping: a class, an import that cannot be followed, or plain variables."""
    for definition in program.classes:
        assert isinstance(definition.node, ast.ClassDef)
        fields = _mutable_fields(definition.node)
        best = [name for name in fields if _BEST.search(name)]
        counters = [name for name in fields if COUNTER.search(name)]
        if best and counters and _ends_a_run(program, definition.node, counters):
            kept = {name: fields[name] for name in fields if name in best or name in counters}
            variables = _variables_of(program, definition) or ["early_stopping"]
            return EarlyStopping(kept, variables[0], definition, frozenset(variables))
    for call in program.calls:
        symbol = call.module.resolve(call.node.func)
        name = symbol.name if isinstance(symbol, External) else ""
        if name.rsplit(".", 1)[-1] == "EarlyStopping" and not name.startswith(_FRAMEWORKS):
            fields = {"best_score": True, "val_loss_min": False, "counter": True}
            return EarlyStopping(fields, holder(call.module.parents.get(call.node)) or "early_stopping")
    return _in_variables(program)


def _mutable_fields(owner: ast.ClassDef) -> dict[str, bool]:
    """Attributes that change after the construction, and whether a comparison reads them."""
    changed: list[str] = []
    compared: set[str] = set()
    for function in owner.body:
        if not isinstance(function, FUNCTIONS):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and dotted(node.value) == "self":
                if isinstance(node.ctx, ast.Store) and function.name not in ("__init__", "load_state_dict", "reset"):
                    changed.append(node.attr)
            elif isinstance(node, ast.Compare):
                parts = (inner for side in (node.left, *node.comparators) for inner in ast.walk(side))
                compared.update(p.attr for p in parts if isinstance(p, ast.Attribute) and dotted(p.value) == "self")
    return {name: name in compared for name in dict.fromkeys(changed)}


def _ends_a_run(program: Program, owner: ast.ClassDef, counters: list[str]) -> bool:
    """Whether a class that keeps a best value and a count stops the training by them.

    Others keep statistics, or are schedules that lower the rate, which a script saves with its schedules.
    """
    inside = list(ast.walk(owner))
    if _SCHEDULING.search(owner.name) or any(isinstance(n, ast.Attribute) and n.attr == "param_groups" for n in inside):
        return False
    named = {
        n.attr if isinstance(n, ast.Attribute) else n.id for n in inside if isinstance(n, (ast.Attribute, ast.Name))
    }
    if _STOPPING.search(owner.name) or any(map(_STOPPING.search, named)):
        return True
    return any(f".{name}" in text for text in _stopping_tests(program) for name in counters)


@remembered
def _stopping_tests(program: Program) -> list[str]:
    """The comparisons of a program that speak of stopping."""
    compared = (ast.unparse(node) for _, node in program.nodes if isinstance(node, ast.Compare))
    return [text for text in compared if _STOPPING.search(text)]


def _variables_of(program: Program, definition: Definition) -> list[str]:
    """The names that instances of the class are given."""
    found: list[str] = []
    for module, node in program.nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            symbol = module.resolve(node.value.func)
            if isinstance(symbol, Definition) and symbol.node is definition.node:
                found += [name for target in node.targets if (name := dotted(target))]
    return list(dict.fromkeys(found))


def _in_variables(program: Program) -> EarlyStopping | None:
    """`if val_loss < best_loss: ... else: counter += 1; if counter >= patience: break` without a class."""
    scopes = [site for site in program.nodes if isinstance(site.node, (*FUNCTIONS, ast.Module))]
    for _, scope in scopes:
        nodes = list(walk_scope(scope))
        stored = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        counted = {n.target.id for n in nodes if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)}
        compared = {i.id for n in nodes if isinstance(n, ast.Compare) for i in ast.walk(n) if isinstance(i, ast.Name)}
        best = sorted(name for name in stored & compared if _BEST.search(name) and len(name) > 3)
        counters = sorted(name for name in counted & compared if COUNTER.search(name))
        limits = [ast.unparse(n) for n in nodes if isinstance(n, ast.Compare)]
        if best and any(_STOPPING.search(text) and re.search(rf"\b{c}\b", text) for text in limits for c in counters):
            return EarlyStopping(dict.fromkeys([*best, *counters], True), "")
    return None


# --- what is restored ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reads:
    """The keys that a program reads from dicts, and whether it may read others."""

    keys: frozenset[str]
    calls: frozenset[str]
    """The last names of all that it calls."""
    whole_early_stopping: bool
    restores_optimizer: bool
    """Whether it resumes training rather than only using a model."""

    @property
    def restores_rng(self) -> bool:
        """Whether it sets a random generator's state."""
        return any("rng" in key for key in self.keys) or bool(
            self.calls & {"set_rng_state", "setstate", "set_state", "set_rng_state_all"}
        )


def reads(program: Program, stopping: EarlyStopping) -> Reads:
    """Every key read by subscript, `get`, `pop` or `in`. Reading more than is used can only silence a rule."""
    keys: set[str] = set()
    calls: set[str] = set()
    whole = optimizer = False
    for module, node in program.nodes:
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            keys |= texts(node.slice)
        elif isinstance(node, ast.Compare) and any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops):
            keys |= texts(node.left)
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            calls.add(name.rsplit(".", 1)[-1] if name else getattr(node.func, "attr", ""))
            if isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop") and node.args:
                keys |= texts(node.args[0])
            optimizer = optimizer or is_of_optimizer(node, "load_state_dict")
            whole = whole or _restores_whole(module, node, stopping)
        elif isinstance(node, (ast.Tuple, ast.List)) and len(node.elts) < 30:
            keys |= {text for element in node.elts for text in texts(element)}
    optimizer = optimizer or ("load_state_dict" in calls and any("optim" in key.lower() for key in keys))
    return Reads(frozenset(keys), frozenset(calls), whole, optimizer)


def _restores_whole(module: Module, call: ast.Call, stopping: EarlyStopping) -> bool:
    """`es.load_state_dict(x)`, `vars(es).update(x)`, `setattr(es, k, v)`, `EarlyStopping(**x)`."""
    func = call.func
    if isinstance(func, ast.Attribute):
        if re.search(r"load_state|set_state|restore|setstate", func.attr) and stopping.is_object(func.value):
            return True
        if func.attr == "update" and stopping.is_whole(func.value):
            return True
    if dotted(func) == "setattr":
        return any(map(stopping.is_object, call.args[:1]))
    made = module.resolve(func)
    ours = isinstance(made, Definition) and stopping.owner is not None and made.node is stopping.owner.node
    return ours and any(keyword.arg is None for keyword in call.keywords)
