"""Family S: what loading the file would run. The readers record every name that its pickles mention."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.inert.numpy_values import plain_values
from ckpt_doctor.types import Case, Global, Severity
from ckpt_doctor.validators.contents import is_ours
from ckpt_doctor.validators.files import damage_of
from ckpt_doctor.validators.rule import Problem, rule


@rule("S201", "dangerous-global", "error", "file", damage=("dangerous-global",))
def dangerous_global(case: Case) -> Iterator[Problem]:
    """The pickle would run code on loading.

    A pickle is a program: it can name any function of any installed module and call it. `os.system`, `builtins.eval`
    and their like have no place in a checkpoint.

    Example: a downloaded `checkpoint` whose pickle calls `posix.system`.

    Cure: don't load it, not even to look; ckpt-doctor has not run any of it. Get the file again from a source you
    trust.

    Source: the pickle module's documentation ("Never unpickle data from an untrusted source"); pickletools.
    """
    yield from damage_of(case, "dangerous-global")


@rule("S202", "unknown-global", "info", "file", damage=("unknown-global",))
def unknown_global(case: Case) -> Iterator[Problem]:
    """Loading needs a package beside torch.

    The file names classes or functions of another package. Where it is not installed, `torch.load` fails with
    ModuleNotFoundError; where it is, its code runs. A warning in a training checkpoint of a known trainer, which writes
    no such names: resuming fails where the package is missing.

    Example: DeepSpeed's `LossScaler`, pickled into the optimizer's state.

    Cure: load it once where the package is installed, and save plain tensors and numbers.

    Source: torch/_weights_only_unpickler.py (the names that torch itself allows).
    """
    for problem in damage_of(case, "unknown-global"):
        ours = is_ours(case) and case.checkpoint.layout == "training"
        yield Problem(problem.message, problem.where, problem.found, problem.expected, "", "warning" if ours else None)


@rule("S203", "not-weights-only", "info", "file", migration="plain-scalars", damage=("not-weights-only",))
def not_weights_only(case: Case) -> Iterator[Problem]:
    """`torch.load(weights_only=True)` will refuse the file.

    That is the default since torch 2.6. Numpy numbers and numpy's random state, for example, are not allowed; a trainer
    that saves them loads its files with `weights_only=False`.

    Example: `Unsupported global: GLOBAL numpy._core.multiarray.scalar was not an allowed global by default`.

    Cure: `ckpt-doctor migrate --plain-scalars` where numpy's numbers are all that is in the way; else
    `torch.serialization.add_safe_globals`, or `weights_only=False` for a file that you trust.

    Source: torch/_weights_only_unpickler.py, `_get_allowed_globals`.
    """
    for problem in damage_of(case, "not-weights-only"):
        names = str(problem.found or "?").split(", ")
        by_name = all(name.startswith(("numpy.", "_codecs.")) for name in names)
        values = plain_values(case.checkpoint, owned=is_ours(case))
        curable = by_name and all(value.plain is not None for value in values)
        yield Problem(problem.message, problem.where, problem.found, problem.expected, None if curable else "")


_UNREAD = frozenset({"training_args.bin"})
"""Names of files that trainers write beside a checkpoint and that no resume reads."""


@rule("S204", "foreign-call", "warning", "file", damage=("foreign-call",))
def foreign_call(case: Case) -> Iterator[Problem]:
    """Loading the file calls a function that stands on no list of harmless ones.

    A pickle can have any function called with any arguments, by its name alone, and `torch.load` calls it before a
    trainer has seen the file. ckpt-doctor knows by exact name what torch, numpy, Python and the enums of transformers
    and accelerate call; all else may be a project's own class or an attack that is dressed as one. An error where a
    trainer would read the file on resume; a note in `training_args.bin`, which no resume reads. A class that is only
    named, or whose instance is filled without a call, is S202.

    Example: a step checkpoint that calls `psutil.Popen`, or `np.memmap` by way of `torch.storage`.

    Cure: get the file from a source that you trust. If the package is the project's own, accept its calls with
    `--trust PACKAGE`, or with `trust = ["PACKAGE"]` under `[tool.ckpt-doctor]`. torch, numpy and Python's own modules
    cannot be trusted as a whole.

    Source: the pickle module's documentation (`object.__reduce__`); CPython Modules/_pickle.c, `load_reduce`.
    """
    path = case.checkpoint.path
    ours = case.run.owns(path)
    read = bool(case.run.trainer) and (case.gate or ours or case.member.role is not None)
    severity: Severity = "info" if path.name in _UNREAD else "error" if read else "warning"
    for problem in damage_of(case, "foreign-call"):
        cure = f"--trust {problem.where.partition('.')[0]}, if you trust it and whoever wrote the file"
        own = Global(problem.where, "").is_standard
        yield Problem(problem.message, problem.where, problem.found, None, "" if own else cure, severity)


RULES = (dangerous_global, unknown_global, not_weights_only, foreign_call)
