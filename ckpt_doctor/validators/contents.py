"""Family L, second part: the keys that the trainer reads, and whether it reads the file at all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ckpt_doctor.types import Case, Global, KeyPath, NumpyScalar, Opaque, TensorRef, real
from ckpt_doctor.validators.files import UNTRUSTED
from ckpt_doctor.validators.rule import Problem, rule
from ckpt_doctor.validators.slots import LARGEST_COUNT

ROOT_KEYS = ("model", "optimizer", "scheduler", "epoch", "global_step")
SCALER_KEYS = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
"""torch/amp/grad_scaler.py, `load_state_dict`."""


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
    cycled = [] if is_idle(case) else [*rates_to_come(case), *momenta_to_come(case)]
    for index in range(_groups(case)):
        group = case.checkpoint.get("optimizer", "param_groups", index)
        of_adam = ("eps", "weight_decay") if isinstance(group, dict) and "amsgrad" in group else ()
        for key in ("params", "lr", *_adam_keys(case), *of_adam, *cycled):
            yield ("optimizer", "param_groups", index, key)
    phases = case.checkpoint.get("scheduler", "_schedule_phases")
    if case.state.scheduler == "OneCycleLR" and isinstance(phases, (list, tuple)) and not is_idle(case):
        ends = ("start_momentum", "end_momentum") if case.checkpoint.get("scheduler", "cycle_momentum") else ()
        for index in range(min(len(phases), 3)):
            yield from (
                ("scheduler", "_schedule_phases", index, key) for key in ("end_step", "start_lr", "end_lr", *ends)
            )
    if is_ours(case):
        yield from (("rng_state", key) for key in ("python", "numpy", "torch"))
        if case.checkpoint.get("scaler", "growth_factor") is not None:  # one that is enabled, in torch's own form
            yield from (("scaler", key) for key in SCALER_KEYS)


def _adam_keys(case: Case) -> tuple[str, ...]:
    state = _at(case, ("optimizer", "state"))
    entries = state.values() if isinstance(state, dict) else ()
    return ("betas",) if any(isinstance(entry, dict) and "exp_avg" in entry for entry in entries) else ()


def rates_to_come(case: Case) -> list[str]:
    """Names under which a OneCycleLR will look up its rates in every param group, from its position on."""
    return _phases_to_come(case, "start_lr", "end_lr")


def momenta_to_come(case: Case) -> list[str]:
    """The same of its momenta; none where it leaves them alone."""
    cycles = case.checkpoint.get("scheduler", "cycle_momentum")
    return _phases_to_come(case, "start_momentum", "end_momentum") if cycles else []


def _phases_to_come(case: Case, *ends: str) -> list[str]:
    phases, last = case.checkpoint.get("scheduler", "_schedule_phases"), case.state.last_epoch or 0
    if not isinstance(phases, (list, tuple)):
        return []
    known = [phase for phase in phases if isinstance(phase, dict)]
    ends_at = (real(phase.get("end_step")) for phase in known[:-1])
    over = len(list(itertools.takewhile(lambda end: end is not None and end <= last, ends_at)))
    names = [phase.get(end) for phase in known[over:] for end in ends]
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def is_resumed(case: Case) -> bool:
    """Whether a trainer reads this file as a training checkpoint: one that it owns, or one in the place of its own."""
    checkpoint = case.checkpoint
    unread = checkpoint.program is None and bool(checkpoint.damage)
    if checkpoint.layout == "state-dict" or unread or checkpoint.is_damaged(*UNTRUSTED):
        return False
    return is_ours(case) or case.member.role is not None


def is_ours(case: Case) -> bool:
    """Whether a trainer recognises the file."""
    return any(member.checkpoint.path == case.checkpoint.path for member in case.run.members)


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


RULES = (missing_key,)
