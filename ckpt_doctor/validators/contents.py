"""Family L, second part: what the trainer reads, key by key, and whether it can compute with what it finds there."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.types import Case, Global, KeyPath, NumpyScalar, Opaque, TensorRef
from ckpt_doctor.validators.files import UNTRUSTED
from ckpt_doctor.validators.rule import Problem, rule

ROOT_KEYS = ("model", "optimizer", "scheduler", "epoch", "global_step")
LARGEST_COUNT = 1 << 62
"""No counter gets there: `range()` and the names of folders end before."""

_NUMBER = (int, float, NumpyScalar, TensorRef, Opaque)
"""What arithmetic accepts; an object that was not made (a numpy array) has the benefit of the doubt."""
_CANNOT_TAKE = "load_state_dict cannot take it"
_CANNOT_COUNT = "scheduler.step() cannot count with it"
_TYPES: tuple[tuple[KeyPath, tuple[type, ...], str, str], ...] = (
    (("optimizer",), (dict, type(None)), "a state_dict", _CANNOT_TAKE),
    (("optimizer", "param_groups"), (list, tuple), "a list", _CANNOT_TAKE),
    (("optimizer", "state"), (dict,), "a dict", _CANNOT_TAKE),
    (("scheduler",), (dict, type(None)), "a state_dict", _CANNOT_TAKE),
    (("scheduler", "last_epoch"), _NUMBER, "a number", _CANNOT_COUNT),
    (("scheduler", "_step_count"), _NUMBER, "a number", _CANNOT_COUNT),
    (("scheduler", "total_steps"), _NUMBER, "a number", _CANNOT_COUNT),
    (("scheduler", "_schedule_phases"), (list, tuple), "a list", _CANNOT_COUNT),
    (("scaler",), (dict, type(None)), "a dict", "the trainer cannot restore it"),
    (("rng_state",), (dict, type(None)), "a dict", "the trainer cannot restore it"),
)
_GROUP_TYPES: tuple[tuple[str, tuple[type, ...], str], ...] = (
    ("params", (list, tuple), "a list"),
    ("lr", _NUMBER, "a number"),
    ("betas", (list, tuple), "a pair of numbers"),
)
LIKE_ONE = "it counts like one, but the trainer never writes it"
_COUNTS = {
    "epoch": "the trainer's range(epoch, ...) needs one",
    "global_step": "the trainer counts steps and names step folders by it",
    "counter": "EarlyStopping counts on from it",
}


@rule("L302", "missing-key", "error", "file")
def missing_key(case: Case) -> Iterator[Problem]:
    """A key that the trainer, or a `load_state_dict` that it calls, reads without a default is absent.

    Resuming stops with `KeyError: 'scheduler'`. Said of this trainer's files; of any other only when the question is
    whether to resume from that very file.

    Example: a checkpoint saved by a script that forgot `global_step`.

    Cure: `ckpt-doctor migrate --fix-epoch` restores `epoch` and `global_step` where Adam's step counter and the length
    of an epoch prove them. A missing model, optimizer or scheduler can be had only from another checkpoint of the run.

    Source: trainer contract, sections 1 and 5; torch/optim/optimizer.py, `Optimizer.load_state_dict`;
    torch/optim/adam.py, `step`; torch/optim/lr_scheduler.py, `OneCycleLR.get_lr`.
    """
    if not isinstance(case.checkpoint.root, dict) or not is_resumed(case):
        return
    for path in _read_without_default(case):
        parent = _at(case, path[:-1])
        if isinstance(parent, dict) and path[-1] not in parent:
            proven = path[-1] in ("epoch", "global_step") and getattr(case.resume, str(path[-1])) is not None
            yield Problem(
                f"`{dotted(path)}` is missing: the trainer stops with KeyError: '{path[-1]}'",
                where=dotted(path),
                expected=path[-1],
                migration="fix-epoch" if proven else None,
                fix=None if proven else "",
            )


def _read_without_default(case: Case) -> Iterator[KeyPath]:
    yield from ((key,) for key in ROOT_KEYS)
    yield from (("optimizer", "param_groups"), ("optimizer", "state"))
    keys = ("params", "lr", *_adam_keys(case), *_schedule_keys(case))
    for index in range(_groups(case)):
        for key in keys:
            yield ("optimizer", "param_groups", index, key)


def _adam_keys(case: Case) -> tuple[str, ...]:
    state = _at(case, ("optimizer", "state"))
    entries = state.values() if isinstance(state, dict) else ()
    return ("betas",) if any(isinstance(entry, dict) and "exp_avg" in entry for entry in entries) else ()


def _schedule_keys(case: Case) -> list[str]:
    """Names under which a OneCycleLR that moves looks up its rates in every param group."""
    phases = case.checkpoint.get("scheduler", "_schedule_phases")
    if is_idle(case) or not isinstance(phases, list):
        return []
    names = [phase.get(end) for phase in phases if isinstance(phase, dict) for end in ("start_lr", "end_lr")]
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


@rule("L303", "wrong-type", "error", "file")
def wrong_type(case: Case) -> Iterator[Problem]:
    """A value is of a type that the trainer cannot compute with.

    `range(start_epoch, ...)` and the names of step folders need integers, `load_state_dict` needs dicts and lists,
    `optimizer.step()` needs numbers. A flag or a tensor of one element counts like an integer, but the trainer never
    writes one: a warning.

    Example: `epoch` is the string "3", or `global_step` is 120.0.

    Cure: `ckpt-doctor migrate --fix-epoch` for `epoch` and `global_step` where the value stands for a whole number or
    the run proves it, `--add-best-score` for `counter`; for the rest another checkpoint of the run.

    Source: trainer contract, sections 5, 6 and 9 (`epoch`, `global_step` and `counter` are int);
    torch/optim/optimizer.py, `Optimizer.load_state_dict`; torch/optim/lr_scheduler.py, `LRScheduler.step`.
    """
    root = case.checkpoint.root
    if not is_resumed(case):
        return
    if not isinstance(root, dict):
        yield _mistyped((), root, "a dict", "the trainer finds no model in it")
        return
    for key in _COUNTS:
        if key in root and not _is_count(key, root[key]):
            yield _no_count(case, key, root[key])
    for path, allowed, expected, consequence in _types(case):
        parent = _at(case, path[:-1])
        if _holds(parent, path[-1]) and not isinstance(value := _at(case, path), allowed):
            yield _mistyped(path, value, expected, consequence)
    model = root.get("model", {})
    if not isinstance(model, dict) or case.checkpoint.layout == "other":
        if "model" in root:
            yield _mistyped(("model",), model, "a state_dict", _CANNOT_TAKE)
        return
    for name in (name for name, value in model.items() if value is None):
        yield _mistyped(("model", str(name)), None, "a tensor", "load_state_dict refuses it")


def _types(case: Case) -> Iterator[tuple[KeyPath, tuple[type, ...], str, str]]:
    yield from (entry for entry in _TYPES if entry[3] != _CANNOT_COUNT or not is_idle(case))
    for index in range(_groups(case)):
        path: KeyPath = ("optimizer", "param_groups", index)
        yield path, (dict,), "a dict", _CANNOT_TAKE
        for name, allowed, expected in _GROUP_TYPES:
            yield (*path, name), allowed, expected, "the optimizer cannot work with it"


def _is_count(key: str, value: object) -> bool:
    if isinstance(value, NumpyScalar):
        value = value.value
    if key == "counter" and isinstance(value, float) and value.is_integer():
        return True
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_COUNT


def _no_count(case: Case, key: str, value: object) -> Problem:
    like_one = isinstance(value, bool) or (isinstance(value, TensorRef) and value.numel == 1)
    if key == "counter":
        migration = "add-best-score" if case.resume.early_stopping else None
    else:
        known = case.resume.epoch is not None and case.resume.global_step is not None
        proven = known or (case.run.facts.steps_per_epoch is None and whole_number(value) is not None)
        ours = any(member.checkpoint.path == case.checkpoint.path for member in case.run.members)
        migration = "fix-epoch" if proven and ours else None
    too_large = isinstance(value, int) and not isinstance(value, bool)
    return Problem(
        f"`{key}` is {describe(value)}"
        + (": no run gets there" if too_large else f", not an integer: {LIKE_ONE if like_one else _COUNTS[key]}"),
        where=key,
        found=describe(value),
        expected="int",
        migration=migration,
        fix=None if migration else "",
        severity="warning" if like_one else None,
    )


def _mistyped(path: KeyPath, value: object, expected: str, consequence: str) -> Problem:
    subject = f"`{dotted(path)}` is" if path else "the file holds"
    return Problem(
        f"{subject} {describe(value)}, not {expected}: {consequence}",
        where=dotted(path),
        found=describe(value),
        expected=expected,
        fix="",
    )


def is_resumed(case: Case) -> bool:
    """Whether the trainer reads this file as a training checkpoint: one of its own, one in the place of its own, or
    one that is asked about."""
    checkpoint, role = case.checkpoint, case.member.role
    unread = checkpoint.program is None and bool(checkpoint.damage)
    if checkpoint.layout == "state-dict" or unread or checkpoint.is_damaged(*UNTRUSTED):
        return False
    if case.gate or any(member.checkpoint.path == checkpoint.path for member in case.run.members):
        return True
    like_ours = isinstance(checkpoint.root, dict) and sum(key in checkpoint.root for key in ROOT_KEYS) >= 3
    return role is not None and (bool(case.run.trainer) or like_ours)


def is_idle(case: Case) -> bool:
    """Whether the run's scheduler is known never to be stepped."""
    facts = case.run.facts
    modes = (facts.lradj.value,) if facts.lradj else facts.lradj_candidates
    return bool(modes) and not {"TST", "COS"} & set(modes)


def _groups(case: Case) -> int:
    groups = case.checkpoint.get("optimizer", "param_groups")
    return len(groups) if isinstance(groups, (list, tuple)) else 0


def _at(case: Case, path: KeyPath) -> object:
    return case.checkpoint.get(*path)


def _holds(parent: object, key: str | int) -> bool:
    return key in parent if isinstance(parent, dict) else isinstance(parent, (list, tuple)) and isinstance(key, int)


def dotted(path: KeyPath) -> str:
    """A path as people write it: `optimizer.param_groups[0].lr`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def whole_number(value: object) -> int | None:
    """The integer that a wrongly typed count stands for: `"3"`, `120.0`."""
    if isinstance(value, NumpyScalar):
        value = value.value
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 19:
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53 else None


def describe(value: object) -> str:
    """A value and its type, short."""
    if isinstance(value, NumpyScalar):
        return f"numpy {value.dtype} {value.value}"
    if isinstance(value, TensorRef):
        return f"a tensor of shape {list(value.shape)}"
    if isinstance(value, Opaque):
        return f"an object of {value.callee}" if isinstance(value.callee, Global) else "an object"
    if isinstance(value, int) and abs(value) >= LARGEST_COUNT:
        return f"an integer of {value.bit_length():,} bits"
    if isinstance(value, dict):
        return "a dict"
    return f"{type(value).__name__} {repr(value)[:60]}" if isinstance(value, (str, int, float)) else _name(value)


def _name(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


RULES = (missing_key, wrong_type)
