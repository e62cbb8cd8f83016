"""X908 scheduler-not-saved and X909 whole-model-saved: what a script puts into its checkpoints."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ckpt_doctor.lint.bindings import FUNCTIONS
from ckpt_doctor.lint.effects import saves
from ckpt_doctor.lint.guards import words
from ckpt_doctor.lint.module import Call, Definition, External, Module
from ckpt_doctor.lint.nodes import dotted, last_name
from ckpt_doctor.lint.program import Program, remembered
from ckpt_doctor.lint.rule import Hit
from ckpt_doctor.lint.saved_dicts import Content, contents
from ckpt_doctor.lint.schedule import SCHEDULER_CLASS, SCHEDULER_NAME, is_absolute, is_scheduler_step, only_steps
from ckpt_doctor.types import NotChecked

_SAVES_ALL = frozenset({"save_state", "register_for_checkpointing"})
_START_WORDS = frozenset({"start", "resume", "resumed", "begin", "last", "initial", "done", "offset"})
_MODULE_METHODS = frozenset({"parameters", "named_parameters", "eval", "train", "forward", "modules", "half"})
_SAME_MODULE = frozenset(
    {"cpu", "cuda", "half", "float", "eval", "to", "unwrap_model", "deepcopy", "copy", "de_parallel"}
)


def scheduler_not_saved(program: Program) -> Iterator[Hit | NotChecked]:
    """The optimizer is saved, and the scheduler that the script steps is not.

    ## What it does
    In a script that steps a scheduler, looks at every saved dict with the optimizer's state: is the scheduler's in it?
    Silent when the schedule is rebuilt from the epoch: its place is given to `scheduler.step(epoch)`, to the
    constructor (`last_epoch=`) or by stepping it up to the start; when its state is saved elsewhere; and for rates that
    a function of the epoch computes (`adjust_learning_rate(optimizer, epoch)`, `lr = get_lr(it)`).

    ## Why it matters
    Severity warning: the resumed run's schedule starts anew. The optimizer keeps its last rate until the first
    `scheduler.step()`, then warmup, milestones or annealing begin again; ReduceLROnPlateau forgets its best value and
    its patience.

    ## Example
    ```python
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}, path)
    scheduler.step()
    ```

    ## How to cure
    ```python
    state["scheduler"] = scheduler.state_dict()  # when saving
    scheduler.load_state_dict(ckpt["scheduler"])  # when resuming
    ```

    ## Source
    `torch/optim/lr_scheduler.py`: `last_epoch` is in the scheduler, not in the optimizer. Measured: of plain loops
    without scheduler state, CosineAnnealingLR continued with 0.00596 for 0.00352, OneCycleLR with 0.00052 for 0.00905.
    """
    steps = [call for call in program.calls if is_scheduler_step(program, call) and not is_absolute(call.node)]
    if not steps or _is_rebuilt(program):
        return
    names = {dotted(call.node.func).rsplit(".", 2)[-2] for call in steps if dotted(call.node.func).count(".")}
    saved = [content for save in saves(program) for content in contents(program, save)]
    if any(_holds_schedule(content, names) for content in saved):
        return
    seen: set[ast.AST] = set()
    step = steps[0]
    for content in saved:
        if content.site.node in seen or not content.holds_optimizer:
            continue
        seen.add(content.site.node)
        if content.is_open:
            yield content.unread("X908")
            continue
        written = dotted(step.node.func) or "scheduler.step"
        name = written.removesuffix(".step")
        yield Hit(
            content.site,
            f"this checkpoint holds the optimizer and not the scheduler that {written}() at line "
            f"{step.module.source.locate(step.node.lineno)[1]} moves on: after a resume the schedule starts anew.",
            f'"scheduler": {name}.state_dict(),',
            found=", ".join(content.values),
            expected="scheduler",
        )


def _holds_schedule(content: Content, names: set[str]) -> bool:
    """Whether a dict has a schedule's state, or a whole object that may contain one."""
    if content.holds_scheduler or any(SCHEDULER_NAME.search(key) for key in content.values):
        return True
    for _, value in content.values.values():
        for node in ast.walk(value):
            leaf = last_name(node) if isinstance(node, (ast.Name, ast.Attribute)) else ""
            if leaf and (leaf in names or SCHEDULER_NAME.search(leaf)):
                return True
        if dotted(value) == "self":
            return True
    return False


def _is_rebuilt(program: Program) -> bool:
    """Whether the schedule's state is saved elsewhere, or set to the place at which the run resumes."""
    for call in program.calls:
        func = call.node.func
        leaf = func.attr if isinstance(func, ast.Attribute) else dotted(func)
        owner = last_name(func.value) if isinstance(func, ast.Attribute) else ""
        if leaf in _SAVES_ALL or (leaf in ("state_dict", "load_state_dict") and SCHEDULER_NAME.search(owner)):
            return True
        if is_scheduler_step(program, call) and (is_absolute(call.node) or only_steps(program, call)):
            return True
        if _starts_at_a_place(program, call):
            return True
    return any(
        isinstance(node, (ast.Attribute, ast.Subscript))
        and isinstance(node.ctx, ast.Store)
        and last_name(node) in ("last_epoch", "_step_count")
        for _, node in program.nodes
    )


def _starts_at_a_place(program: Program, call: Call) -> bool:
    """Whether a schedule is made for the rest of a run: `StepLR(..., last_epoch=start_epoch - 1)`."""
    given = {k.arg: k.value for k in call.node.keywords}
    if "last_epoch" in given and ast.unparse(given["last_epoch"]) != "-1":
        return True
    if not SCHEDULER_CLASS.search(program.name_of(call)):
        return False
    parts = (n for a in (*call.node.args, *given.values()) for n in ast.walk(a))
    return any(isinstance(n, (ast.Name, ast.Attribute)) and words(dotted(n)) & _START_WORDS for n in parts)


def whole_model_saved(program: Program) -> Iterator[Hit]:
    """A whole model object is saved instead of its state_dict.

    ## What it does
    Looks for `torch.save` of a variable that is a module: an instance of an `nn.Module` of the script, or an object of
    which the script calls `parameters()`, `eval()` or `train()`. Silent for its `state_dict()`, for dicts, and for
    `torch.jit.save`.

    ## Why it matters
    Severity info: the file names the classes of the code that wrote it. It loads only where the same modules can be
    imported under the same names, with `weights_only=False`, and it runs code on loading; a renamed class or a moved
    file makes it unreadable.

    ## Example
    ```python
    torch.save(model, "model.pt")
    ```

    ## How to cure
    ```python
    torch.save(model.state_dict(), "model.pt")
    ```

    ## Source
    PyTorch's tutorial on saving and loading models ("the serialized data is bound to the specific classes and the exact
    directory structure"); since torch 2.6 `torch.load` refuses such a file by default.
    """
    for save in saves(program):
        module = save.call.module
        model = _unwrapped(save.content)
        if model is not None and _is_module(program, module, model):
            target = f", {ast.unparse(save.target).splitlines()[0]}" if save.target is not None else ""
            yield Hit(
                save.call,
                f"{ast.unparse(save.call.node.func)} writes the whole object {dotted(model)}: the file loads only with "
                "weights_only=False and where the same classes can be imported under the same names.",
                f"{ast.unparse(save.call.node.func)}({dotted(model)}.state_dict(){target})",
            )


def _unwrapped(content: ast.expr) -> ast.expr | None:
    """`model` of `model.module`, `model.cpu()`, `copy.deepcopy(model)`, `accelerator.unwrap_model(model)`."""
    while isinstance(content, ast.Call):
        leaf = last_name(content.func) or getattr(content.func, "attr", "")
        if leaf not in _SAME_MODULE:
            return None
        inner = content.args[0] if content.args and leaf not in ("to", "cuda") else getattr(content.func, "value", None)
        if inner is None:
            return None
        content = inner
    if isinstance(content, ast.Attribute) and content.attr == "module":
        content = content.value  # what DistributedDataParallel wraps
    return content if isinstance(content, (ast.Name, ast.Attribute)) and dotted(content) else None


def _is_module(program: Program, module: Module, node: ast.expr, depth: int = 3) -> bool:
    """Whether a variable is an `nn.Module`, by its class or by what is called of it; never where that is not clear."""
    if depth <= 0:
        return False
    bindings = program.values_of(module, node)
    values = [b.value for b in bindings if b.kind == "assign" and b.value is not None]
    if any(not _may_be_a_module(value) for value in values):
        return False
    owner = program.class_of_value(module, node)
    if owner is not None:
        return _is_module_class(owner)
    parameters = [b.node for b in bindings if b.kind == "param" and isinstance(b.node, FUNCTIONS)]
    given = [a for f in parameters if isinstance(f, FUNCTIONS) for a in program.arguments(f, dotted(node))]
    if given:
        models = [(call.module, _unwrapped(value)) for call, value in given[:8]]
        return all(m is not None and _is_module(program, where, m, depth - 1) for where, m in models)
    scope = module.tree if "." in dotted(node) or not bindings else module.scope(bindings[0].node)
    if parameters:
        scope = parameters[0]
    return dotted(node) in _used_as_modules(program, module, scope)


@remembered
def _used_as_modules(_program: Program, module: Module, scope: ast.AST) -> set[str]:
    """The names of which a piece of code calls a method of a module."""
    funcs = (call.func for call in module.calls(scope))
    return {dotted(f.value) for f in funcs if isinstance(f, ast.Attribute) and f.attr in _MODULE_METHODS}


def _may_be_a_module(value: ast.expr) -> bool:
    """Whether a value may be a module: not a dict, a `state_dict()` or a literal."""
    if isinstance(value, ast.Call):
        leaf = last_name(value.func) or getattr(value.func, "attr", "")
        return "state" not in words(leaf) and leaf not in ("dict", "OrderedDict", "load")
    return isinstance(value, (ast.Name, ast.Attribute, ast.IfExp))


def _is_module_class(owner: Definition, depth: int = 4) -> bool:
    assert isinstance(owner.node, ast.ClassDef)
    for base in owner.node.bases:
        symbol = owner.module.resolve(base)
        if isinstance(symbol, External) and symbol.name.rsplit(".", 1)[-1] in ("Module", "PreTrainedModel"):
            return True
        inherited = isinstance(symbol, Definition) and isinstance(symbol.node, ast.ClassDef) and depth > 0
        if inherited and isinstance(symbol, Definition) and _is_module_class(symbol, depth - 1):
            return True
    return False
