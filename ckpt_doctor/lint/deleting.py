"""X901 deletes-checkpoints and X902 unlocked-prune: what a script removes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ckpt_doctor.lint.effects import Removal, removals
from ckpt_doctor.lint.guards import CHOICE_WORDS, is_guarded, is_locked, words
from ckpt_doctor.lint.module import Call, Module, Site
from ckpt_doctor.lint.nodes import dotted
from ckpt_doctor.lint.program import Program, remembered
from ckpt_doctor.lint.rule import Hit

_TEST_FILE = re.compile(r"^(test_.*|.*_test|conftest)\.py$")
_SENDING = frozenset({"upload", "push", "sync", "backup", "archive", "copy", "cp", "rsync", "export", "publish"})
_COPYING = ("shutil.copytree", "shutil.make_archive", "shutil.move", "os.rename", "os.replace")


def deletes_checkpoints(program: Program) -> Iterator[Hit]:
    """The script removes the folder in which its checkpoints lie.

    ## What it does
    Looks for a removal (`shutil.rmtree`, `rm -r` through `os.system`, `subprocess` or a notebook's `!`, a loop of
    `unlink` over a listing, a helper such as `del_files`) whose path is the checkpoint root or a run's folder. Paths
    are followed through variables, `os.path.join`, f-strings, option defaults and arguments; helpers are followed into
    the modules of the same repository, and one that removes nothing is not reported. Silent when an option, a constant
    that is false or a question to the user decides about the removal, when the tree was copied away first, and when
    only step folders are removed (see X902).

    ## Why it matters
    Severity error: when the run ends, or when a restarted script reaches the line, nothing is left to resume from,
    and no repair brings a deleted file back.

    ## Example
    ```python
    path = "./checkpoints"
    del_files(path)
    ```

    ## How to cure
    Delete the call, or make it an option that is off by default:
    ```python
    if args.delete_checkpoints:
        del_files(path)
    ```

    ## Source
    The trainer's `run_pretrain.py` ends with `del_files('./checkpoints')`; in `run_main.py` the same call is commented
    out. `shutil.rmtree` removes without a trash folder.
    """
    seen: set[ast.AST] = set()
    if _TEST_FILE.search(program.main.path.name):
        return  # what a test has made, it may take away
    for removal in removals(program):
        place = removal.place
        if removal.what != "tree" or place.node in seen or _is_wanted(program, removal):
            continue
        seen.add(place.node)
        written = ast.unparse(place.module.statement(place.node)).split("\n")[0]
        function = dotted(place.node.func) or "this call"
        how = ""
        if removal.guess:
            how = f" (judged by the name {function}: its definition was not found beside the script)"
        elif place.node is not removal.call.node:
            how = f" ({function} removes it at {removal.call.module.path.name}:{removal.call.node.lineno})"
        yield Hit(
            place,
            f"{function} deletes {_quoted(removal)} and with it every checkpoint there{how}: "
            "afterwards there is nothing left to resume from.",
            f"if args.delete_checkpoints:  # an option that is off by default\n    {written}",
            found=written,
        )


def unlocked_prune(program: Program) -> Iterator[Hit]:
    """Old step folders are removed without a lock.

    ## What it does
    Looks for `shutil.rmtree` or `rm -r` on selected checkpoint folders: elements of a listing that is sliced, filtered
    by a step number or popped from a list, or a path that names a step. Silent when the removal runs under a lock
    (`with lock:`, `fcntl.flock`, `.acquire()` before it, or every caller holds one, in the file or among the linted
    scripts), or when the function renames the folder to the removed name first, so that nobody finds it any more.
    Removing a single file is not reported: a process that has it open keeps reading it.

    ## Why it matters
    Severity warning: `rmtree` removes a folder file by file, so a resume that reads the folder at that moment fails or
    finds half of it, and a folder that another process is still writing can be taken for an old one. A crash in between
    leaves a folder with a step number and no checkpoint in it.

    ## Example
    ```python
    for folder in sorted(folders, key=step_of)[: -args.save_total_limit]:
        shutil.rmtree(folder)
    ```

    ## How to cure
    `prune` takes the lock, keeps the best, the newest resumable and any open checkpoint, and renames before it removes:
    ```python
    ckpt_doctor.prune(run_dir, keep=args.save_total_limit)
    ```

    ## Source
    The trainer's `save_total_limit` loop; `shutil.rmtree` unlinks the entries of a folder one after another.
    """
    seen: set[ast.AST] = set()
    for removal in removals(program):
        place = removal.call
        if removal.what != "steps" or not removal.recursive or removal.guess or place.node in seen:
            continue
        chain = (place, *removal.path.via)
        if any(is_locked(program, call) for call in chain) or _renamed_before(program, place):
            continue
        seen.add(place.node)
        yield Hit(
            place,
            "old checkpoint folders are removed with no lock held: one that a resume is reading, or another process is "
            "writing, can vanish file by file.",
            "ckpt_doctor.prune(run_dir, keep=args.save_total_limit)  # in place of the whole loop",
            found=ast.unparse(place.node).split("\n")[0],
            callers_decide=True,
        )


def _is_wanted(program: Program, removal: Removal) -> bool:
    """Whether someone chose this removal, or the tree is safe elsewhere."""
    chain = (removal.call, *removal.path.via)
    if any(is_guarded(program, call) for call in chain):
        return True
    function = removal.place.module.function(removal.place.node)
    if function is not None and not program.callers(function) and _is_offered(program, function):
        return True
    return any(_copied_before(program, call) for call in chain)


def _is_offered(program: Program, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A function that nothing here calls and that removes by its very name, or a command: its caller decides."""
    by_choice = bool(function.decorator_list or words(function.name) & CHOICE_WORDS)
    return by_choice and function.name not in _mentioned(program)


@remembered
def _mentioned(program: Program) -> frozenset[str]:
    return frozenset(node.id for _, node in program.nodes if isinstance(node, ast.Name))


def _copied_before(program: Program, site: Site) -> bool:
    module, node = site
    if not isinstance(node, ast.Call):
        return False
    sent = _sent(program, module, module.function(node) or module.tree)
    return any(sent.get(ast.dump(removed), node.lineno) < node.lineno for removed in node.args[:1])


@remembered
def _sent(program: Program, module: Module, scope: ast.AST) -> dict[str, int]:
    """What a piece of code copies or sends away, as `ast.dump` has it -> the first line in which it does."""
    found: dict[str, int] = {}
    for call in module.calls(scope):
        name = program.name_of(Call(module, call))
        parts = [part for a in (*call.args, *(k.value for k in call.keywords)) for part in ast.walk(a)]
        texts = [p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)]
        said = set[str]().union(*map(words, [name.rsplit(".", 1)[-1], *texts]))
        for part in parts if name in _COPYING or said & _SENDING else ():
            written = ast.dump(part)
            found[written] = min(call.lineno, found.get(written, call.lineno))
    return found


def _renamed_before(program: Program, removal: Call) -> bool:
    """Whether what is removed was given that name by a rename in the same function."""
    module, node = removal.module, removal.node
    renamed = _renamed(program, module, module.function(node) or module.tree)
    return any(renamed.get(ast.dump(gone), node.lineno) < node.lineno for gone in node.args[:1])


@remembered
def _renamed(_program: Program, module: Module, scope: ast.AST) -> dict[str, int]:
    """The names that a piece of code gives by a rename, as `ast.dump` has them -> the first line in which it does."""
    found: dict[str, int] = {}
    for call in module.calls(scope):
        renames = isinstance(call.func, ast.Attribute) and call.func.attr in ("rename", "replace", "renames", "move")
        for name in call.args[-1:] if renames else ():
            written = ast.dump(name)
            found[written] = min(call.lineno, found.get(written, call.lineno))
    return found


def _quoted(removal: Removal) -> str:
    text = str(removal.path).rstrip("/") or "the folder"
    listed = [folder for hole in removal.path.holes if hole.items for folder in hole.items.folders]
    return f"everything in {str(listed[0]).rstrip('/')!r}" if listed else repr(text)
