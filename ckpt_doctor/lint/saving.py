"""X904 saved-before-scheduler-step and X905 overwrites-only-copy: when and how a script saves."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ckpt_doctor.lint.effects import Save, as_save, is_temporary, saves
from ckpt_doctor.lint.guards import comes_first, innermost_loop, is_option, leaves, loop_of, words
from ckpt_doctor.lint.module import Call, Module, Site, dotted
from ckpt_doctor.lint.program import Program
from ckpt_doctor.lint.reading import Reading
from ckpt_doctor.lint.rule import Hit
from ckpt_doctor.lint.schedule import SCHEDULER_NAME, catches_up, is_absolute, is_scheduler_step
from ckpt_doctor.lint.state import contents
from ckpt_doctor.lint.values import readings

_VARYING_WORDS = frozenset(
    "epoch step iter iteration i it idx index time date timestamp now uuid loss acc accuracy score metric".split()  # noqa: SIM905
)
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
    seen: set[ast.AST] = set()
    judged: dict[ast.AST, bool] = {}
    steps = [call for call in program.calls if is_scheduler_step(program, call)]
    if catches_up(program, steps):
        return
    for step in steps:
        module = step.module
        loop = innermost_loop(module, step.node)
        if loop is None or is_absolute(step.node):
            continue
        inside = [Call(module, n) for n in module.calls(loop)]
        for call in inside:
            if call.node in seen or call.node is step.node or innermost_loop(module, call.node) is not loop:
                continue
            if not comes_first(module, call.node, step.node):
                continue
            if call.node not in judged:
                judged[call.node] = _trained_before(program, inside, call) and _saves_scheduler(program, call)
            if judged[call.node] and not _is_another(program, call, step, steps):
                seen.add(call.node)
                written = dotted(step.node.func)
                yield Hit(
                    Site(*call),
                    f"the checkpoint is saved before {written}() at line {module.source.locate(step.node.lineno)[1]}: "
                    f"after a resume the schedule is one {written}() behind, and one more after each further resume.",
                    f"{_with_condition(module, step.node)}  # moved to before the save\n"
                    f"{ast.unparse(module.statement(call.node)).splitlines()[0]}",
                )


def _with_condition(module: Module, step: ast.Call) -> str:
    """The step as written, under the test that it stands under."""
    statement = module.statement(step)
    above = module.parents[statement]
    if not isinstance(above, ast.If):
        return ast.unparse(step)
    test = ast.unparse(above.test)
    return f"if {test if statement in above.body else f'not ({test})'}:\n    {ast.unparse(step)}"


def _is_another(program: Program, save: Call, step: Call, steps: list[Call]) -> bool:
    """Whether a script steps several schedules, and the dict that is saved names others than this one."""
    named = {dotted(other.node.func).rsplit(".", 2)[-2] for other in steps if "." in dotted(other.node.func)}
    held: set[str] = set()
    for inner in program.reachable(save):
        found = as_save(program, inner)
        for content in contents(program, found) if found is not None else ():
            held |= {
                dotted(node).rsplit(".", 1)[-1]
                for _, value in content.values.values()
                for node in ast.walk(value)
                if isinstance(node, (ast.Name, ast.Attribute))
            }
    mine = dotted(step.node.func).rsplit(".", 2)
    return len(named) > 1 and len(mine) > 1 and mine[-2] not in held and bool(held & named)


def _trained_before(program: Program, inside: list[Call], save: Call) -> bool:
    """Whether the loop has trained when it comes to the save: a save at its very start is in step."""
    for call in inside:
        if (call.node.lineno, call.node.col_offset) >= (save.node.lineno, save.node.col_offset):
            continue
        name = dotted(call.node.func)
        leaf = name.rsplit(".", 1)[-1] or getattr(call.node.func, "attr", "")
        if leaf == "backward" or words(leaf) & {"train", "fit", "training"}:
            return True
        if leaf == "step" and not is_scheduler_step(program, call):
            return True
    return False


def _saves_scheduler(program: Program, call: Call) -> bool:
    for inner in program.reachable(call):
        save = as_save(program, inner)
        if save is not None and any(content.holds_scheduler for content in contents(program, save)):
            return True
    if program.target(call) is not None:
        return False
    name = dotted(call.node.func)
    leaf = name.rsplit(".", 1)[-1]
    passed = [dotted(a) for a in (*call.node.args, *(k.value for k in call.node.keywords))]
    if leaf == "save_state":
        prepared = (
            c for c in program.calls if dotted(c.node.func).endswith((".prepare", ".register_for_checkpointing"))
        )
        return any(SCHEDULER_NAME.search(dotted(a)) for c in prepared for a in c.node.args)
    return bool(words(leaf) & {"save"}) and any(SCHEDULER_NAME.search(p.rsplit(".", 1)[-1]) for p in passed if p)


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
                Site(*save.call),
                f"torch.save writes straight over the previous {'checkpoint' if kind == 'training' else 'weights'} "
                f"({reading}): an interruption during the save leaves neither the old file nor the new one.",
                f"ckpt_doctor.atomic_save({ast.unparse(save.content).splitlines()[0]}, {text})",
                severity=None if kind == "training" else "info",
                found=str(reading),
            )


def _endangered(program: Program, save: Save) -> Reading | None:
    """A path that is overwritten: one that comes by way of some calls, in all the forms it may take on that way."""
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
    sites = [Site(*call) for call in (save.call, *reading.via)]
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
        return by_nature and not _varies(reading, None)
    return not _varies(reading, loop) and not any(map(_is_last, sites))


def _is_last(site: Site) -> bool:
    """Whether the block goes on to end the loop or the program: `if stop: torch.save(...); break`."""
    statement = site.module.statement(site.node)
    blocks = (getattr(site.module.parents[statement], name, None) for name in ("body", "orelse", "finalbody"))
    behind = next((b[b.index(statement) + 1 :] for b in blocks if isinstance(b, list) and statement in b), [])
    return any(leaves(s) and not isinstance(s, (ast.Continue, ast.Return)) for s in behind)


def _varies(reading: Reading, loop: Site | None) -> bool:
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
        if _is_counted(module, hole.name):
            return True
        if isinstance(node, ast.Name):
            made = (binding.node for binding in module.lookup(node.id, node))
            if any(n is loop.node or loop.node in module.ancestors(n) for n in made):
                return True
    return False


def _is_counted(module: Module, name: str) -> bool:
    """Whether a variable or attribute is raised somewhere: `self.n_updates += 1`."""
    return "..." not in name and any(
        isinstance(node, ast.AugAssign) and dotted(node.target) == name for node in ast.walk(module.tree)
    )


def _another_copy_first(program: Program, save: Save) -> bool:
    """Whether the same content was just written whole to a path of its own, so that something is always left."""
    module, node = save.call
    wanted = ast.dump(save.content)
    for other in saves(program):
        same = other.call.module is module and other.call.node is not node and ast.dump(other.content) == wanted
        if not same or other.target is None or not comes_first(module, other.call.node, node):
            continue
        loop = innermost_loop(module, node) or module.function(node)
        site = Site(module, loop) if loop is not None else None
        if all(_varies(reading, site) for reading in readings(program, module, other.target)):
            return True
    return False


def _only_sometimes(module: Module, copy: ast.Call, save: ast.AST) -> bool:
    """Whether a copy stands behind the save under a test of its own."""
    around = set(module.ancestors(save))
    conditional = any(isinstance(parent, ast.If) and parent not in around for parent in module.ancestors(copy))
    return conditional and copy.lineno > getattr(save, "lineno", 0)


def _is_moved(program: Program, site: Site, reading: Reading) -> bool:
    """Whether the function moves the file, or the folder it lies in, or has a copy of it each time.

    A copy that is made behind the save and under a condition (`if is_best`) keeps the best model, not the last one.
    """
    module, node = site
    for inner in ast.walk(module.function(node) or module.tree):
        if not isinstance(inner, ast.Call):
            continue
        func = inner.func
        arguments = list(inner.args[:2])
        if isinstance(func, ast.Attribute) and func.attr in ("replace", "rename") and len(arguments) == 1:
            arguments = [func.value]
        else:
            name = program.name_of(Call(module, inner))
            if name not in _MOVING or ("copy" in name and _only_sometimes(module, inner, node)):
                continue
        texts = {str(r).rstrip("/") for a in arguments for r in readings(program, module, a)}
        if any(str(reading) == text or (text and str(reading).startswith(text + "/")) for text in texts):
            return True
    return False
