"""X907 every-rank-saves: several processes that write one and the same checkpoint file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ckpt_doctor.lint.bindings import FUNCTIONS, Function
from ckpt_doctor.lint.effects import Save, saves
from ckpt_doctor.lint.guards import Condition, conditions, words
from ckpt_doctor.lint.module import Call, Definition, Module, Site, method
from ckpt_doctor.lint.nodes import dotted, holder, last_name, returned
from ckpt_doctor.lint.program import Program
from ckpt_doctor.lint.reading import Reading
from ckpt_doctor.lint.rule import Hit
from ckpt_doctor.lint.saving import kind_of
from ckpt_doctor.lint.values import readings

_CALLER_DEPTH = 6
_VALUE_DEPTH = 12

# Calls by which a script says that it is one of several processes.
_STARTING = frozenset(
    "init_process_group init_distributed init_distributed_mode DistributedDataParallel FullyShardedDataParallel "  # noqa: SIM905
    "fully_shard DDP FSDP Accelerator DistributedSampler".split()
)
_RANK_VARIABLES = frozenset({"RANK", "LOCAL_RANK", "GLOBAL_RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"})
# These save in one process alone whoever calls them; every process must call them.
_OWN_RANK_TEST = frozenset({"accelerator", "fabric", "xm", "xla_model"})

_RANK_WORDS = frozenset(
    "rank ranks master primary chief leader coordinator main gpu process proc procid worker zero".split()  # noqa: SIM905
)
"""Words of a test that lets one process through."""
_MANY_WORDS = frozenset({"distributed", "ddp", "multiprocessing", "fsdp", "multigpu"})
_COUNT_WORDS = frozenset({"world", "ngpu", "ngpus", "gpus", "processes"})
_UNIQUE_WORDS = frozenset({"pid", "uuid", "hostname", "host", "index"})
_INITIALIZED = ("dist.is_initialized", "torch.distributed.is_initialized", "dist.is_available")
_CONVERSIONS = frozenset({"int", "str", "bool", "get", "getenv", "len"})
_STARTS_A_RUN = re.compile(r"^_*(main|train|fit|run|work|demo|launch|start|learn)|(train|main|loop|worker|fn)$", re.I)


def every_rank_saves(program: Program) -> Iterator[Hit]:
    """Every process of a distributed run writes the same checkpoint file.

    ## What it does
    In a script that runs as several processes (`init_process_group`, DistributedDataParallel, FSDP, `Accelerator`,
    `RANK` or `LOCAL_RANK` read from the environment), looks for a `torch.save` of a checkpoint that no test of the
    rank guards: in its function, in its decorators or around the calls that lead to it. Silent when the path has
    the rank in it, when it is not known, and for what every process must call: `accelerator.save`,
    `accelerator.save_state`, `fabric.save`, `torch.distributed.checkpoint`.

    ## Why it matters
    Severity warning: several processes write into one file at the same time. The file is whole only if they happen to
    write the same bytes at the same places; a process that ends later, or whose state is of another size, leaves a
    damaged archive.

    ## Example
    ```python
    model = DistributedDataParallel(model)
    for epoch in range(epochs):
        train(model)
        torch.save({"model": model.module.state_dict(), "epoch": epoch}, f"checkpoint_{epoch}.pt")
    ```

    ## How to cure
    ```python
    if torch.distributed.get_rank() == 0:  # with Accelerate: if accelerator.is_main_process
        torch.save(state, path)
    ```

    ## Source
    `torch/serialization.py` opens the path in every process that calls `torch.save`; pytorch/examples `imagenet`,
    torchvision's `save_on_master` and nanoGPT's `master_process` save in one process alone.
    """
    sign = _several_processes(program)
    if not sign:
        return
    accelerator = _accelerator(program)
    for save in saves(program):
        if save.target is None or _tests_the_rank_itself(program, save) or kind_of(program, save) is None:
            continue
        if _is_of_one_rank(program, save.call):
            continue
        path = _shared_path(program, save)
        if path is not None:
            yield Hit(
                save.call,
                f"the script runs as several processes ({sign}), and no test of the rank guards this save: "
                f"every process writes {path} at the same time, which can leave a damaged file.",
                _by_one_rank(save, accelerator),
                found=str(path),
                callers_decide=True,
            )


def _several_processes(program: Program) -> str:
    """What shows that the script runs as several processes: the name of a call or of an environment variable."""
    for call in program.calls:
        name = program.name_of(call).rsplit(".", 1)[-1] or getattr(call.node.func, "attr", "")
        if name in _STARTING:
            return name
    for _, node in program.nodes:
        if isinstance(node, (ast.Subscript, ast.Call)) and _environment_variable(node) in _RANK_VARIABLES:
            return _environment_variable(node)
    return ""


def _environment_variable(node: ast.Subscript | ast.Call) -> str:
    """`RANK` of `os.environ["RANK"]`, `os.environ.get("RANK")` and `os.getenv("RANK")`."""
    owner = node.func if isinstance(node, ast.Call) else node.value
    key = next(iter(node.args), None) if isinstance(node, ast.Call) else node.slice
    known = dotted(owner).rsplit(".", 2)[-2:]
    if not (isinstance(key, ast.Constant) and isinstance(key.value, str) and {"environ", "getenv"} & set(known)):
        return ""
    return key.value


def _tests_the_rank_itself(program: Program, save: Save) -> bool:
    owner = program.name_of(save.call).rpartition(".")[0]
    return owner.rsplit(".", 1)[-1] in _OWN_RANK_TEST


def _by_one_rank(save: Save, accelerator: str) -> str:
    """The save under a test that lets the first process through, in the terms of the script.

    The dict is made before the test: under FSDP every process must call `state_dict()`.
    """
    module, call = save.call
    test = "not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0"
    if accelerator:
        inside = module.class_of(call) or module.function(call)
        named = (
            dotted(n) for n in (module.nodes(inside) if inside is not None else ()) if isinstance(n, ast.Attribute)
        )
        test = next((n for n in named if n.rsplit(".", 1)[-1] == "accelerator"), accelerator) + ".is_main_process"
    if isinstance(save.content, ast.Name):
        return f"if {test}:\n    {ast.unparse(call)}"
    made = ast.unparse(save.content)
    return f"state = {made}\nif {test}:\n    {ast.unparse(call).replace(made, 'state', 1)}"


def _accelerator(program: Program) -> str:
    """The variable that holds Accelerate's object; empty where the script makes none."""
    for call in program.calls:
        if program.name_of(call).rsplit(".", 1)[-1] == "Accelerator":
            return holder(call.module.parents.get(call.node)) or "accelerator"
    return ""


def _shared_path(program: Program, save: Save) -> Reading | None:
    """The path that all processes write; None where it differs between them or is not known."""
    assert save.target is not None
    module = save.call.module
    made = [b.value for b in program.values_of(module, save.target) if isinstance(b.value, ast.Call)]
    if any(dotted(value.func).endswith("BytesIO") for value in made):
        return None
    found = readings(program, module, save.target)
    for reading in found:
        for hole in reading.holes:
            if hole.temporary or hole.parameter or _says_the_rank(program, hole.site.module, hole.site.node):
                return None
            if words(hole.name) & (_RANK_WORDS | _UNIQUE_WORDS):
                return None
    return found[0] if found and found[0].parts else None


# --- tests of the rank -----------------------------------------------------------------------------------------------


def _is_of_one_rank(program: Program, site: Site, depth: int = _CALLER_DEPTH) -> bool:
    """Whether one process alone comes to a node, or it is not known which do."""
    module, node = site
    if any(_lets_one_through(program, module, condition) for condition in conditions(module, node)):
        return True
    function = module.function(node)
    if function is None:
        return False
    return program.once(_is_of_one_rank, function, True, lambda: _is_run_by_one(program, module, function, depth))


def _is_run_by_one(program: Program, module: Module, function: Function, depth: int) -> bool:
    if any(_names_one_rank(decorator) for decorator in function.decorator_list) or depth <= 0:
        return True
    callers = program.callers(function)
    if not callers:
        return not _is_entry(module, function)
    return all(_is_of_one_rank(program, caller, depth - 1) for caller in callers)


def _is_entry(module: Module, function: Function) -> bool:
    """Whether a function that nothing in sight calls starts a run: `mp.spawn(main_worker)`, `def train(...)`.

    Of a helper it is not known whether its callers test the rank.
    """
    if _STARTS_A_RUN.search(function.name) or function.name in module.loaded_names:
        return True
    return any(isinstance(c.func, ast.Attribute) and c.func.attr == "backward" for c in module.calls(function))


def _names_one_rank(decorator: ast.expr) -> bool:
    """`@rank_zero_only`, `@accelerator.on_main_process`; `@hydra.main` is not one."""
    func = decorator.func if isinstance(decorator, ast.Call) else decorator
    found = words(last_name(func))
    return bool(found & _RANK_WORDS) and found != {"main"}


def _lets_one_through(program: Program, module: Module, condition: Condition) -> bool:
    return _means_one_process(condition.test, condition.holds) or _says_the_rank(program, module, condition.test)


def _means_one_process(test: ast.expr, holds: bool) -> bool:
    """`if not args.distributed`, `if world_size == 1`, `if accelerator is None`, `else` of `if args.distributed`."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _means_one_process(test.operand, not holds)
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And if holds else ast.Or):
        return any(_means_one_process(value, holds) for value in test.values)
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        if isinstance(test.ops[0], (ast.Is, ast.IsNot)):
            absent = isinstance(test.ops[0], ast.Is) == holds
            return absent and bool(words(last_name(test.left)) & (_OWN_RANK_TEST | _MANY_WORDS))
        counts = words(dotted(test.left)) & _COUNT_WORDS
        one = isinstance(test.ops[0], (ast.Eq, ast.LtE, ast.Lt))
        return bool(counts) and one == holds
    name = test.func if isinstance(test, ast.Call) else test
    return not holds and bool(words(last_name(name)) & _MANY_WORDS or dotted(name) in _INITIALIZED)


def _says_the_rank(program: Program, module: Module, node: ast.AST, depth: int = _VALUE_DEPTH) -> bool:
    """Whether an expression depends on the rank: by its words, by its variables' values, or by what it calls."""
    return program.once(
        _says_the_rank, node, False, lambda: depth > 0 and _reads_the_rank(program, module, node, depth)
    )


def _reads_the_rank(program: Program, module: Module, node: ast.AST, depth: int) -> bool:
    if isinstance(node, ast.Constant):
        return node.value in _RANK_VARIABLES
    if isinstance(node, (ast.Name, ast.Attribute)) or (isinstance(node, ast.Subscript) and dotted(node)):
        return bool(words(last_name(node)) & _RANK_WORDS) or _is_set_by_rank(program, module, node, depth)
    if isinstance(node, ast.Call):
        return _call_says_the_rank(program, module, node, depth)
    return any(_says_the_rank(program, module, child, depth) for child in ast.iter_child_nodes(node))


def _call_says_the_rank(program: Program, module: Module, node: ast.Call, depth: int) -> bool:
    leaf = last_name(node.func) or getattr(node.func, "attr", "")
    if words(leaf) & _RANK_WORDS:
        return True
    target = program.target(Call(module, node))
    if target is not None:
        return _returns_the_rank(program, target.module, target.function, depth - 1)
    # What a function out of sight does with a rank that it is given is not known.
    return any(_says_the_rank(program, module, argument, depth - 1) for argument in node.args)


def _returns_the_rank(program: Program, module: Module, function: Function, depth: int) -> bool:
    return any(
        _says_the_rank(program, module, value, depth)
        or any(_lets_one_through(program, module, c) for c in conditions(module, value))
        for value in returned(function)
    )


def _is_set_by_rank(program: Program, module: Module, node: ast.expr, depth: int) -> bool:
    """Whether a variable has a value that says the rank, or gets one only under a test of the rank."""
    name = dotted(node)
    bound = module.bindings(module.scope(node)).get(name) if isinstance(node, ast.Name) else None
    for binding in (bound or program.values_of(module, node))[:8]:
        if binding.kind != "assign" or binding.value is None:
            continue
        if _decides(binding.value) and _says_the_rank(program, module, binding.value, depth - 1):
            return True
        if any(_says_the_rank(program, module, c.test, depth - 1) for c in conditions(module, binding.node)):
            return True
    owner = program.class_of_value(module, node.value) if isinstance(node, ast.Attribute) else None
    found = method(owner, node.attr) if owner is not None and isinstance(node, ast.Attribute) else None
    if isinstance(found, Definition) and isinstance(found.node, FUNCTIONS):
        return _returns_the_rank(program, found.module, found.node, depth - 1)
    return False


def _decides(value: ast.expr) -> bool:
    """Whether a value is a truth or a setting, not the result of work that was given the rank: `train(rank)`."""
    if isinstance(value, ast.Call):
        return (not value.args and not value.keywords) or last_name(value.func) in _CONVERSIONS
    return isinstance(value, (ast.Compare, ast.BoolOp, ast.UnaryOp, ast.Name, ast.Attribute, ast.Subscript, ast.IfExp))
