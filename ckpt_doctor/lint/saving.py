"""X904 saved-before-scheduler-step and X905 overwrites-only-copy: when and how a script saves."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator

from ckpt_doctor.lint.effects import Save, as_save, is_temporary, saves
from ckpt_doctor.lint.guards import comes_first, innermost_loop, is_option, loop_of, words
from ckpt_doctor.lint.module import Call, Module, Site
from ckpt_doctor.lint.nodes import dotted, last_name, leaves
from ckpt_doctor.lint.program import Program, remembered
from ckpt_doctor.lint.reading import Reading
from ckpt_doctor.lint.rule import Hit
from ckpt_doctor.lint.saved_dicts import Content, contents
from ckpt_doctor.lint.schedule import SCHEDULER_NAME, catches_up, is_absolute, is_scheduler_step
from ckpt_doctor.lint.values import readings

_VARYING_WORDS = frozenset(
    "epoch step iter iteration i it idx index time date timestamp now uuid loss acc accuracy score metric".split()  # noqa: SIM905
)
_TAKING = (".prepare", ".register_for_checkpointing")
_MOVING = ("os.replace", "os.rename", "os.link", "shutil.move", "shutil.copy", "shutil.copy2", "shutil.copyfile")


def saved_before_scheduler_step(program: Program) -> Iterator[Hit]:
    """A checkpoint with scheduler state is saved before `scheduler.step()` of the same iteration.

    ## What it does
    Looks in each training loop for a save whose dict holds the scheduler (directly, through helpers or through an
    `EarlyStopping` that saves) and that comes after the optimizer's step but before the same loop's `scheduler.step()`.
    Silent when the scheduler is stepped first, is stepped in another loop, gets the epoch as an argument, or is stepped
    once more after loading.

    ## Why it matters
    Severity warning: the optimizer in the file has made the step, the schedule has not. A resumed run begins with the
    next batch (or epoch), so its schedule lags by one from then on, and by one more after every further resume.

    ## Example
    ```python
    optimizer.step()
    global_step += 1
    if global_step % args.save_steps == 0:
        save_step_checkpoint(model, optimizer, scheduler, global_step)
    scheduler.step()
    ```

    ## How to cure
    Step the scheduler before the save. `ckpt-doctor migrate --sync-scheduler` repairs the files saved so far.

    ## Source
    The trainer's loop saves step checkpoints before the per-batch `scheduler.step()` of `lradj=TST`, and the best
    checkpoint before the per-epoch one of `lradj=COS`.
    """
    steps = [call for call in program.calls if is_scheduler_step(program, call)]
    if catches_up(program, steps):
        return
    stepped: dict[Site, list[tuple[str, ast.Call]]] = {}
    for step in steps:
        loop = innermost_loop(*step)
        if loop is not None and not is_absolute(step.node):
            stepped.setdefault(Site(step.module, loop), []).append((_schedule(step.node), step.node))
    schedules = {_schedule(step.node) for step in steps} - {""}
    for (module, loop), inside in stepped.items():
        trained = _first_training(program, module, loop)
        for call in module.calls(loop):
            if not trained < _place(call) or innermost_loop(module, call) is not loop:
                continue
            if not _saves_scheduler(program, Call(module, call)):
                continue
            held = _held(program, Call(module, call)) & schedules if len(schedules) > 1 else set()
            for name, moved_on in inside:
                if (not held or not name or name in held) and comes_first(module, call, moved_on):
                    yield _saved_early(module, call, moved_on)
                    break


def _saved_early(module: Module, save: ast.Call, step: ast.Call) -> Hit:
    written = dotted(step.func)
    return Hit(
        Site(module, save),
        f"the checkpoint is saved before {written}() at line {module.source.locate(step.lineno)[1]}: "
        f"after a resume the schedule is one {written}() behind, and one more after each further resume.",
        f"{_with_condition(module, step)}  # moved to before the save\n"
        f"{ast.unparse(module.statement(save)).splitlines()[0]}",
    )


def _with_condition(module: Module, step: ast.Call) -> str:
    """The step as written, under its test."""
    statement = module.statement(step)
    above = module.parents[statement]
    if not isinstance(above, ast.If):
        return ast.unparse(step)
    test = ast.unparse(above.test)
    return f"if {test if statement in above.body else f'not ({test})'}:\n    {ast.unparse(step)}"


def _schedule(step: ast.Call) -> str:
    """`scheduler` of `self.scheduler.step()`; empty where what is stepped has no name."""
    return dotted(step.func).rpartition(".")[0].rpartition(".")[2]


def _held(program: Program, save: Call) -> set[str]:
    """The variables and attributes of which a call saves something, by their last names."""
    values = (value for content in _saved(program, save) for _, value in content.values.values())
    nodes = (node for value in values for node in ast.walk(value))
    return {last_name(node) for node in nodes if isinstance(node, (ast.Name, ast.Attribute))}


def _place(call: ast.Call) -> tuple[float, int]:
    return call.lineno, call.col_offset


def _first_training(program: Program, module: Module, loop: ast.AST) -> tuple[float, int]:
    """Where a loop first trains: a save before that is in step. Behind everything where it does not."""
    calls = (call for call in module.calls(loop) if _trains(program, Call(module, call)))
    return min(map(_place, calls), default=(math.inf, 0))


def _trains(program: Program, call: Call) -> bool:
    leaf = last_name(call.node.func) or getattr(call.node.func, "attr", "")
    if leaf == "step":
        return not is_scheduler_step(program, call)
    return leaf == "backward" or bool(words(leaf) & {"train", "fit", "training"})


def _saved(program: Program, call: Call) -> list[Content]:
    """The dicts that a call saves, itself or by what it runs."""
    save, target = as_save(program, call), program.target(call)
    own = contents(program, save) if save is not None else []
    return own if target is None else [*own, *_saved_by(program, target.module, target.function)]


@remembered
def _saved_by(program: Program, module: Module, function: ast.AST) -> list[Content]:
    inner = (as_save(program, call) for call in program.run_by(module, function))
    return [content for save in inner if save is not None for content in contents(program, save)]


def _saves_scheduler(program: Program, call: Call) -> bool:
    if any(content.holds_scheduler for content in _saved(program, call)):
        return True
    if program.target(call) is not None:
        return False
    name = dotted(call.node.func)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "save_state":
        return _prepares_scheduler(program)
    passed = [dotted(a) for a in (*call.node.args, *(k.value for k in call.node.keywords))]
    return bool(words(leaf) & {"save"}) and any(SCHEDULER_NAME.search(p.rsplit(".", 1)[-1]) for p in passed if p)


@remembered
def _prepares_scheduler(program: Program) -> bool:
    """Whether `save_state` saves a schedule: it was given to Accelerate."""
    given = (c.node.args for c in program.calls if dotted(c.node.func).endswith(_TAKING))
    return any(SCHEDULER_NAME.search(dotted(argument)) for arguments in given for argument in arguments)


def overwrites_only_copy(program: Program) -> Iterator[Hit]:
    """A checkpoint is written straight over its previous version.

    ## What it does
    Looks for `torch.save` that runs again and again with the same path, in a loop or in a function that a loop calls.
    Silent when the path changes from save to save (an epoch, a step, a time in it), when it is a temporary that is
    renamed or moved afterwards, when the previous version is copied first, when the target is a buffer, and for a save
    that runs once at the end.

    ## Why it matters
    `torch.save` empties the file before it writes the new content. A disconnect, a kill or a full disk in those seconds
    leaves a truncated archive and no earlier version. Severity warning for a dict with the optimizer, from which the
    run would have resumed; info for bare weights, which no resume needs but which may be the best model's only copy.

    ## Example
    ```python
    for epoch in range(epochs):
        torch.save({"model": m, "optimizer": o, "epoch": epoch}, os.path.join(path, "checkpoint"))
    ```

    ## How to cure
    ```python
    ckpt_doctor.atomic_save(state, path)
    # or: torch.save(state, path + ".tmp"); os.replace(path + ".tmp", path)
    ```

    ## Source
    `torch.serialization.save` opens the file with `open(name, "wb")` or the zip writer, both of which truncate it; the
    trainer's EarlyStopping overwrites `checkpoint` at every improvement.
    """
    for save in saves(program):
        if save.atomic or save.target is None or _another_copy_first(program, save):
            continue
        kind = kind_of(program, save)
        if kind is None:
            continue
        reading = _endangered(program, save)
        if reading is not None:
            text = ast.unparse(save.target).split("\n")[0]
            yield Hit(
                save.call,
                f"torch.save writes straight over the previous {'checkpoint' if kind == 'training' else 'weights'} "
                f"({reading}): an interruption during the save leaves neither the old file nor the new one.",
                f"ckpt_doctor.atomic_save({ast.unparse(save.content).splitlines()[0]}, {text})",
                severity=None if kind == "training" else "info",
                found=str(reading),
            )


def _endangered(program: Program, save: Save) -> Reading | None:
    """A path that is overwritten; None where each way of calls that leads to the save has a form that is not."""
    ways: dict[tuple[Call, ...], list[Reading]] = {}
    for reading in readings(program, save.call.module, save.target) if save.target is not None else ():
        ways.setdefault(reading.via, []).append(reading)
    for alternatives in ways.values():
        if all(_is_endangered(program, save, reading) for reading in alternatives):
            return alternatives[0]
    return None


def kind_of(program: Program, save: Save) -> str | None:
    """`training` for a dict with the optimizer, `weights` for a model, None for anything else."""
    found = contents(program, save)
    if any(content.holds_optimizer for content in found):
        return "training"
    keys = {word for content in found for key in content.values for word in words(key)}
    written = {word for node in ast.walk(save.content) for word in words(dotted(node))}
    return "weights" if (keys | written) & {"model", "state", "weights", "net", "network"} else None


def _is_endangered(program: Program, save: Save, reading: Reading) -> bool:
    if (
        any(hole.temporary or (hole.items and hole.items.folders) for hole in reading.holes)
        or is_temporary(reading)
        or not reading.parts
    ):
        return False
    sites = (save.call, *reading.via)
    if any(_is_moved(program, site, reading) for site in sites):
        return False
    # By nature such a class saves again and again, even if its callers are not in sight.
    owner = save.call.module.class_of(save.call.node)
    by_nature = owner is not None and "earlystopping" in owner.name.lower()
    if any(hole.parameter for hole in reading.holes) and not by_nature:
        return False
    inner = (innermost_loop(*site) for site in sites)
    loop = next((Site(site.module, found) for site, found in zip(sites, inner, strict=True) if found), None)
    loop = loop or loop_of(program, sites[-1]) or loop_of(program, sites[0])
    if loop is None:
        return by_nature and not _varies(program, reading, None)
    return not _varies(program, reading, loop) and not any(_is_last(program, site) for site in sites)


def _is_last(program: Program, site: Site) -> bool:
    """Whether the block goes on to end the loop or the program: `if stop: torch.save(...); break`."""
    module = site.module
    block, index = module.places.get(module.statement(site.node), (-1, 0))
    return _last_ends(program, module).get(block, -1) > index


@remembered
def _last_ends(_program: Program, module: Module) -> dict[int, int]:
    """Block (as in `Module.places`) -> the index of the last statement in it that ends the loop or the program."""
    found: dict[int, int] = {}
    for statement, (block, index) in module.places.items():
        if leaves(statement) and not isinstance(statement, (ast.Continue, ast.Return)):
            found[block] = max(index, found.get(block, -1))
    return found


def _varies(program: Program, reading: Reading, loop: Site | None) -> bool:
    """Whether the path is another one in each round of the loop."""
    for hole in reading.holes:
        if words(hole.name.rsplit(".", 1)[-1]) & _VARYING_WORDS and not is_option(hole.name):
            return True
        module, node = hole.site
        if loop is None or loop.module is not module:
            continue
        if any(parent is loop.node for parent in module.ancestors(node)) and not isinstance(
            node, (ast.Name, ast.Attribute)
        ):
            return True
        if "..." not in hole.name and hole.name in _counted(program, module):
            return True
        if isinstance(node, ast.Name):
            made = (binding.node for binding in module.lookup(node.id, node))
            if any(n is loop.node or loop.node in module.ancestors(n) for n in made):
                return True
    return False


@remembered
def _counted(_program: Program, module: Module) -> frozenset[str]:
    """The variables and attributes that a file raises somewhere: `self.n_updates += 1`."""
    return frozenset(dotted(node.target) for node in module.nodes(module.tree) if isinstance(node, ast.AugAssign))


def _another_copy_first(program: Program, save: Save) -> bool:
    """Whether the same content was just written to a path of its own, so that a whole file always exists."""
    module, node = save.call
    loop = innermost_loop(module, node) or module.function(node)
    site = Site(module, loop) if loop is not None else None
    return any(
        copy.node is not node
        and comes_first(module, copy.node, node)
        and all(_varies(program, path, site) for path in paths)
        for copy, paths in _of_content(program).get((module, ast.dump(save.content)), ())
    )


@remembered
def _of_content(program: Program) -> dict[tuple[Module, str], list[tuple[Call, list[Reading]]]]:
    """Module and content, as `ast.dump` has it -> the saves of it, with their paths, all of which have holes."""
    found: dict[tuple[Module, str], list[tuple[Call, list[Reading]]]] = {}
    for save in saves(program):
        module = save.call.module
        paths = readings(program, module, save.target) if save.target is not None else []
        if paths and all(path.holes for path in paths):
            found.setdefault((module, ast.dump(save.content)), []).append((save.call, paths))
    return found


def _only_sometimes(module: Module, copy: ast.Call, save: ast.AST) -> bool:
    """Whether a copy follows the save under a test of its own."""
    around = set(module.ancestors(save))
    conditional = any(isinstance(parent, ast.If) and parent not in around for parent in module.ancestors(copy))
    return conditional and copy.lineno > getattr(save, "lineno", 0)


def _is_moved(program: Program, site: Site, reading: Reading) -> bool:
    """Whether the function moves the file or its folder, or copies it each time.

    A copy that is made after the save and under a condition (`if is_best`) keeps the best model, not the last one.
    """
    module, node = site
    wanted = str(reading)
    moves = _moves(program, module, module.function(node) or module.tree)
    above = {wanted, *(wanted[:size] for size in {*map(len, moves)} - {0} if wanted[size : size + 1] == "/")}
    return any(
        not copies or not _only_sometimes(module, call, node) for text in above for call, copies in moves.get(text, ())
    )


@remembered
def _moves(program: Program, module: Module, scope: ast.AST) -> dict[str, list[tuple[ast.Call, bool]]]:
    """Path -> the calls of a piece of code that move what is there, and whether they copy it."""
    found: dict[str, list[tuple[ast.Call, bool]]] = {}
    for call in module.calls(scope):
        func = call.func
        arguments = call.args[:2]
        copies = False
        if isinstance(func, ast.Attribute) and func.attr in ("replace", "rename") and len(arguments) == 1:
            arguments = [func.value]
        else:
            name = program.name_of(Call(module, call))
            if name not in _MOVING:
                continue
            copies = "copy" in name
        for text in {str(r).rstrip("/") for a in arguments for r in readings(program, module, a)}:
            found.setdefault(text, []).append((call, copies))
    return found
