"""X901 deletes-checkpoints and X902 unlocked-prune: what a script removes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ckpt_doctor.lint.effects import Removal, removals
from ckpt_doctor.lint.guards import CHOICE_WORDS, is_guarded, is_locked, words
from ckpt_doctor.lint.module import Call, Site, dotted
from ckpt_doctor.lint.program import Program
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
    that is false or a question to the user stands before the removal, when the tree was copied away first, and when
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
            Site(*place),
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
    (`with lock:`, `fcntl.flock`, `.acquire()` before it, or every caller holds one), or when the function renames the
    folder to the removed name first, so that nobody finds it any more. Removing a single file is not
    reported: whoever has it open keeps reading it.

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
        if any(is_locked(program, Site(*call)) for call in chain) or _renamed_before(place):
            continue
        seen.add(place.node)
        yield Hit(
            Site(*place),
            "old checkpoint folders are removed with no lock held: one that a resume is reading, or another process is "
            "writing, can vanish file by file.",
            "ckpt_doctor.prune(run_dir, keep=args.save_total_limit)  # in place of the whole loop",
            found=ast.unparse(place.node).split("\n")[0],
        )


def _is_wanted(program: Program, removal: Removal) -> bool:
    """Whether someone chose this removal, or the tree is safe elsewhere."""
    chain = (removal.call, *removal.path.via)
    if any(is_guarded(program, Site(*call)) for call in chain):
        return True
    function = removal.place.module.function(removal.place.node)
    if function is not None and not program.callers(function) and _is_offered(program, function):
        return True
    return any(_copied_before(program, Site(*call)) for call in chain)


def _is_offered(program: Program, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A function that nothing here calls and that removes by its very name, or a command: its caller decides."""
    mentioned = any(isinstance(node, ast.Name) and node.id == function.name for _, node in program.nodes)
    return bool(function.decorator_list or words(function.name) & CHOICE_WORDS) and not mentioned


def _copied_before(program: Program, site: Site) -> bool:
    module, node = site
    arguments = node.args[:1] if isinstance(node, ast.Call) else []
    removed = {ast.dump(a) for a in arguments}
    scope = module.function(node) or module.tree
    for inner in ast.walk(scope):
        if not isinstance(inner, ast.Call) or inner.lineno >= getattr(node, "lineno", 0):
            continue
        name = program.name_of(Call(module, inner))
        parts = [part for a in (*inner.args, *(k.value for k in inner.keywords)) for part in ast.walk(a)]
        texts = [p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)]
        said = set[str]().union(*map(words, [name.rsplit(".", 1)[-1], *texts]))
        sends = name in _COPYING or said & _SENDING
        if sends and removed & {ast.dump(part) for part in parts}:
            return True
    return False


def _renamed_before(removal: Call) -> bool:
    """Whether what is removed was given that name by a rename in the same function."""
    module, node = removal
    gone = {ast.dump(a) for a in node.args[:1]}
    return any(
        isinstance(inner, ast.Call)
        and inner.lineno < node.lineno
        and isinstance(inner.func, ast.Attribute)
        and inner.func.attr in ("rename", "replace", "renames", "move")
        and bool(inner.args)
        and ast.dump(inner.args[-1]) in gone
        for inner in ast.walk(module.function(node) or module.tree)
    )


def _quoted(removal: Removal) -> str:
    text = str(removal.path).rstrip("/") or "the folder"
    listed = [folder for hole in removal.path.holes if hole.items for folder in hole.items.folders]
    return f"everything in {str(listed[0]).rstrip('/')!r}" if listed else repr(text)
