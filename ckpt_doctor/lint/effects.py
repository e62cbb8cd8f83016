"""Calls that matter to checkpoints: what removes files, what saves, what loads."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ckpt_doctor.lint.guards import Condition, conditions, innermost_loop, words
from ckpt_doctor.lint.module import Call, Module, Site
from ckpt_doctor.lint.nodes import dotted, last_name
from ckpt_doctor.lint.program import Program, remembered
from ckpt_doctor.lint.reading import Hole, Part, Reading
from ckpt_doctor.lint.values import items, readings, strings_in

_REMOVE_TREE = ("shutil.rmtree", "rmtree", "distutils.dir_util.remove_tree", "remove_tree", "send2trash.send2trash")
_REMOVE_ONE = ("os.remove", "os.unlink", "os.rmdir", "os.removedirs")
_SHELL = re.compile(r"^(os\.(system|popen)|subprocess\.\w+|get_ipython\.system|get_ipython\(\)\.system|sh\.rm)$")
_REMOVING_NAME = re.compile(r"^_*(del|delete|remove|rm|rmtree|purge|wipe|erase)(_|[A-Z]|\d|$)")

_REMOVING_WORDS = frozenset({"del", "delete", "remove", "rm", "rmtree", "purge", "wipe", "erase"})
_ON_DISK = frozenset(
    "file files dir dirs directory directories folder folders tree path paths checkpoint checkpoints ckpt ckpts all "  # noqa: SIM905
    "everything contents r rf recursive recursively outputs results runs old".split()
)
"""What the name of a removing function may name: `remove_module_prefix` and `delete_branch` remove no files."""

_TEMPORARY = re.compile(r"(?i)(?<![a-z])(tmp|temp|temporary|trash|partial|scratch|cache|incomplete)(?![a-z])|tmp_|_tmp")
_STEP = re.compile(r"(?i)(step|epoch|(?<![a-z])iter|checkpoint[-_](?:\{|\*|\\|\(|\d|$)|ckpt[-_](?:\{|\*|\\|\(|\d|$))")
# `.ipynb_checkpoints` are a notebook's, and what ends in `.ckpt-doctor-...` is this tool's own.
_CHECKPOINT_TEXT = re.compile(r"(?i)(?<![a-z])(?<!ipynb_)(checkpoints?|ckpts?|chkpts?)(?![a-z]|-doctor)")
_CHECKPOINT_NAME = re.compile(r"(?i)checkpoint|ckpt|chkpt")
_ROOT_NAME = re.compile(
    r"(?i)(checkpoints|ckpts|chkpts)|(checkpoint|ckpt|chkpt)_?(dir|path|root|folder|home|base|save)|"
    r"(dir|path|root|folder)_?(of_)?(checkpoint|ckpt)"
)
_ONE_CHECKPOINT_WORDS = frozenset({"old", "prev", "previous", "last", "stale", "worst", "expired", "oldest", "latest"})
_WEIGHT_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".tar", ".pkl"})
_OTHER_OUTPUT = re.compile(
    r"^(tensorboard|tb|tb_?logs?|logs?|lightning_logs|wandb|mlruns|events?|vis\w*|figures?|plots?|images?|samples?"
    r"|predictions?|outputs?|profil\w*|traces?|metrics|reports?|code|configs?|__pycache__)$",
    re.IGNORECASE,
)
_OPT = re.compile(r"^_*opt(_|[A-Z\d]|$)|_opt$")
_FILE_NAME = re.compile(r"(?<![./])\.\w{1,8}$")

Removed: TypeAlias = Literal["tree", "steps", "other"]


@dataclass(frozen=True, eq=False)
class Removal:
    """A call that removes files or folders."""

    call: Call
    path: Reading
    recursive: bool
    """Whether it removes a folder with all its content (`rmtree`, `rm -r`)."""
    what: Removed
    """The whole tree, selected checkpoints of it, or something that is not known to hold checkpoints."""
    guess: bool = False
    """Whether only the name of the called function says that it removes anything."""

    @property
    def place(self) -> Call:
        """Where the path was written: the outermost call, if it came through parameters."""
        return self.path.via[-1] if self.path.via else self.call


@dataclass(frozen=True, eq=False)
class Save:
    """A call that writes an object as a checkpoint file."""

    call: Call
    content: ast.expr
    target: ast.expr | None
    atomic: bool = False


@remembered
def removals(program: Program) -> list[Removal]:
    """Every removal in the program, one per value that its path may have."""
    found: list[Removal] = []
    for call in program.calls:
        for path, recursive, guess in _removed_paths(program, call):
            found.append(Removal(call, path, recursive, classify(program, call, path, recursive), guess))
    return found


def _removed_paths(program: Program, call: Call) -> Iterator[tuple[Reading, bool, bool]]:
    module, node = call.module, call.node
    name = program.name_of(call)
    func, args = node.func, node.args
    attribute = func.attr if isinstance(func, ast.Attribute) else ""
    given = {k.arg: k.value for k in node.keywords}
    path = args[0] if args else given.get("path") or given.get("directory")
    paths: list[Reading] = []
    recursive, guess = True, False
    if (name in _REMOVE_TREE or name.endswith("gfile.rmtree")) and path is not None:
        paths = readings(program, module, path)
    elif attribute == "rmtree" and not args and isinstance(func, ast.Attribute):
        paths = readings(program, module, func.value)
    elif attribute == "rm" and path is not None and _is_true(given.get("recursive")):
        paths = readings(program, module, path)
    elif name in _REMOVE_ONE and path is not None:
        paths, recursive = readings(program, module, path), False
    elif attribute in ("unlink", "rmdir") and not args and isinstance(func, ast.Attribute):
        paths, recursive = readings(program, module, func.value), False
    elif _SHELL.match(name) or _is_notebook_shell(func):
        paths = [p for a in args[:1] for text in _command_texts(program, module, a) for p in _rm_targets(text)]
    elif name in ("map", "atexit.register") and len(args) > 1:
        inner = ast.Call(func=args[0], args=args[1:2], keywords=[])
        removes = dotted(args[0]) and program.name_of(Call(module, inner))
        if removes in (*_REMOVE_TREE, *_REMOVE_ONE):
            recursive = removes in _REMOVE_TREE
            paths = _elements(program, module, args[1]) if name == "map" else readings(program, module, args[1])
    elif path is not None and _is_unseen_helper(program, call):
        paths, guess = readings(program, module, path), True
    for reading in paths:
        yield reading, recursive, guess


def _is_unseen_helper(program: Program, call: Call) -> bool:
    """An imported function that says that it removes, and whose file is not at hand. `list.remove` is a method."""
    func = call.node.func
    imported = isinstance(func, ast.Name) and any(b.kind == "import" for b in call.module.lookup(func.id, func))
    leaf = program.name_of(call).rsplit(".", 1)[-1]
    what = words(leaf) - _REMOVING_WORDS
    removes = _REMOVING_NAME.match(leaf) and (not what or what & _ON_DISK)
    return imported and bool(removes) and program.target(call) is None


def _elements(program: Program, module: Module, node: ast.expr) -> list[Reading]:
    known = items(program, module, node)
    return [
        Reading((Hole("item", Site(module, node), items=replace(known, folders=(f,))),), f.via) for f in known.folders
    ]


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_notebook_shell(func: ast.expr) -> bool:
    return isinstance(func, ast.Attribute) and func.attr == "system" and isinstance(func.value, ast.Call)


def _command_texts(program: Program, module: Module, node: ast.expr) -> list[Reading]:
    """A shell command, given as a text or as a list of words."""
    if isinstance(node, ast.Name):
        values = [b.value for b in module.lookup(node.id, node) if isinstance(b.value, (ast.List, ast.Tuple))]
        node = values[0] if values and values[0] is not None else node
    if not isinstance(node, (ast.List, ast.Tuple)):
        return readings(program, module, node)
    texts = [Reading(())]
    for word in node.elts[:12]:
        options = readings(program, module, word)[:3]
        texts = [Reading((*t.parts, *o.parts, " "), t.via or o.via) for t in texts for o in options][:8]
    return texts


def _rm_targets(command: Reading) -> list[Reading]:
    """The paths that a command removes with `rm -r`, holes kept."""
    holes = command.holes
    text, n = "", 0
    for part in command.parts:
        text += part if isinstance(part, str) else f"\x01{n}\x01"
        n += not isinstance(part, str)
    found: list[Reading] = []
    for single in re.split(r"&&|\|\||;|\n|\|", text):
        try:
            tokens = shlex.split(single)
        except ValueError:
            tokens = single.split()
        while tokens and (tokens[0] in ("sudo", "nohup", "command") or "=" in tokens[0]):
            tokens = tokens[1:]
        if not tokens or tokens[0].rsplit("/", 1)[-1] != "rm":
            continue
        options = [t for t in tokens[1:] if t.startswith("-")]
        if not any(t == "--recursive" or (not t.startswith("--") and set("rR") & set(t)) for t in options):
            continue
        for token in tokens[1:]:
            if not token.startswith("-"):
                pieces = re.split("\x01(\\d+)\x01", token)
                parts: list[Part] = [holes[int(p)] if i % 2 else p for i, p in enumerate(pieces) if p]
                found.append(Reading(tuple(parts), command.via))
    return found


def is_temporary(path: Reading) -> bool:
    """Whether a path names itself as temporary: `tmp`, `partial`, `cache`."""
    return any(h.temporary or words(h.name) & {"tmp", "temp"} for h in path.holes) or bool(
        _TEMPORARY.search(path.literal)
    )


# --- what a removed path holds ---------------------------------------------------------------------------------------


def classify(program: Program, call: Call, path: Reading, recursive: bool) -> Removed:
    """What a removed path is: a tree of checkpoints, single ones of it, or something else."""
    holes = path.holes
    listed = [hole.items for hole in holes if hole.items is not None]
    strings = {s for part in listed for s in part.strings} | {p for p in path.parts if isinstance(p, str)}
    folders = [folder for part in listed for folder in part.folders]
    every = [hole for reading in (path, *folders) for hole in reading.holes]
    texts = [path.literal, *(folder.literal for folder in folders), *(hole.default for hole in every if hole.default)]
    names = [hole.name for hole in every]
    if any(hole.temporary for hole in every):
        return "other"
    if any(_TEMPORARY.search(text) for text in (*texts, *strings)) or any(words(n) & {"tmp", "temp"} for n in names):
        return "other"
    selecting = _selecting_conditions(call) if listed else []
    strings |= strings_in(program, call.module, [c.test for c in selecting])
    limited = any(part.limited for part in listed) or any(not _is_about_kind(c) for c in selecting)
    stepped = any(_STEP.search(s) for s in (*strings, *texts)) or any(
        words(hole.name) & {"step", "epoch", "iter"} for hole in every if "." not in hole.name and not hole.parameter
    )
    about = any(_CHECKPOINT_TEXT.search(t) for t in (*texts, *strings)) or any(map(_CHECKPOINT_NAME.search, names))
    about = about or any("checkpoint" in s.lower() or "ckpt" in s.lower() for s in strings)
    if not about:
        return "other"
    if listed and (limited or stepped or not folders):
        return "steps"
    if stepped or (not listed and any(words(name) & _ONE_CHECKPOINT_WORDS for name in names)):
        return "steps" if stepped else "other"
    if any(hole.parameter for hole in every):
        return "other"  # which folder it is, a caller says that is not in sight
    if not listed and (not recursive or _FILE_NAME.search(path.literal.rstrip("/"))):
        return "other"
    if any(_OTHER_OUTPUT.search(text.rstrip("/").rsplit("/", 1)[-1]) for text in texts):
        return "other"  # a folder inside, of another kind
    is_root = any(_CHECKPOINT_TEXT.search(t) for t in texts) or any(map(_ROOT_NAME.search, names))
    return "tree" if is_root else "other"


def _selecting_conditions(call: Call) -> list[Condition]:
    """The tests inside the loop that decide whether this element is removed."""
    module, node = call
    loop = innermost_loop(module, node)
    return conditions(module, node, within=loop) if loop is not None else conditions(module, node)[:2]


def _is_about_kind(condition: Condition) -> bool:
    """Whether a test asks what a path is (a folder, a file, existing) and selects nothing by name or age."""
    calls = [n for n in ast.walk(condition.test) if isinstance(n, ast.Call)]
    kinds = ("exists", "isdir", "isfile", "islink", "is_dir", "is_file", "is_symlink", "isinstance", "len")
    leaf = [last_name(c.func) for c in calls]
    if calls:
        suffixes = {n.value for n in ast.walk(condition.test) if isinstance(n, ast.Constant)}
        by_suffix = set(leaf) == {"endswith"} and condition.holds and suffixes <= _WEIGHT_SUFFIXES
        return by_suffix or all(name in kinds for name in leaf)
    names = {w for n in ast.walk(condition.test) if isinstance(n, (ast.Name, ast.Attribute)) for w in words(dotted(n))}
    return bool(names & {"main", "rank", "train", "training", "exists"}) or isinstance(condition.test, ast.Constant)


# --- saving and loading ----------------------------------------------------------------------------------------------


@remembered
def saves(program: Program) -> list[Save]:
    """Every call that writes a checkpoint file."""
    return [save for call in program.calls if (save := as_save(program, call)) is not None]


@remembered
def as_save(program: Program, call: Call) -> Save | None:
    """What a call saves, if it saves: `torch.save`, `accelerator.save`, `fabric.save`, `atomic_save`."""
    name = program.name_of(call)
    args = list(call.node.args)
    given = {k.arg: k.value for k in call.node.keywords}
    receiver, _, leaf = name.rpartition(".")
    owner = receiver.rsplit(".", 1)[-1]
    atomic = leaf == "atomic_save" and program.target(call) is None
    if leaf == "save" and owner == "fabric" and len(args) > 1:
        return Save(call, args[1], args[0])
    if not (atomic or (leaf == "save" and owner in ("torch", "accelerator", "xm", "xla_model", "paddle"))):
        return None
    content = args[0] if args else given.get("obj")
    target = args[1] if len(args) > 1 else given.get("f") or given.get("path")
    return Save(call, content, target, atomic) if content is not None else None


def loads(program: Program) -> list[Call]:
    """Every call that reads a checkpoint file."""
    return [
        call for call in program.calls if program.name_of(call) in ("torch.load", "fabric.load", "self.fabric.load")
    ]


def is_of_optimizer(call: ast.Call, method: str) -> bool:
    """Whether a call is `optimizer.state_dict()` or the like, also of `opt` and `optG`."""
    owner, _, name = dotted(call.func).rpartition(".")
    leaf = owner.rsplit(".", 1)[-1]
    return name == method and ("optim" in leaf.lower() or _OPT.search(leaf) is not None)
