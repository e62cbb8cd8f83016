"""Family L, second part: the keys that the trainer reads, and whether it reads the file at all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from ckpt_doctor.types import (
    Case,
    Global,
    KeyPath,
    Member,
    NumpyScalar,
    Opaque,
    Severity,
    TensorRef,
    dotted,
    python_value,
    real,
)
from ckpt_doctor.validators.files import UNTRUSTED
from ckpt_doctor.validators.rule import Problem, rule
from ckpt_doctor.validators.slot_kinds import LARGEST_COUNT


@rule("L302", "missing-key", "error", "file")
def missing_key(case: Case) -> Iterator[Problem]:
    """A key that the trainer, or a `load_state_dict` that it calls, reads without a default is absent.

    Resuming stops with `KeyError: 'scheduler'`. Said of the files that the run's trainer wrote; of any other only when
    the question is whether to resume from that very file.

    Example: a checkpoint saved by a script that forgot `global_step`.

    Cure: `ckpt-doctor migrate --fix-epoch` restores `epoch` and `global_step` where Adam's step counter and the length
    of an epoch prove them. A missing model, optimizer or scheduler can be had only from another checkpoint of the run.

    Source: trainer contract, sections 1 and 5; torch/optim/optimizer.py, `Optimizer.load_state_dict`;
    torch/optim/adam.py, `step`; torch/optim/lr_scheduler.py, `OneCycleLR.get_lr`.
    """
    if not isinstance(case.checkpoint.root, dict) or not is_resumed(case):
        return
    provable = {case.path("epoch"): case.resume.epoch, case.path("step"): case.resume.global_step}
    for path in case.reads:
        parent = case.checkpoint.get(*path[:-1])
        if isinstance(parent, dict) and path[-1] not in parent:
            proven = provable.get(path) is not None
            yield Problem(
                f"`{dotted(path)}` is missing: the trainer stops with KeyError: '{path[-1]}'",
                where=dotted(path),
                expected=path[-1],
                migration="fix-epoch" if proven else None,
                fix=None if proven else "",
            )


def read_by_torch(member: Member, moves: bool | None) -> Iterator[KeyPath]:
    """What `load_state_dict` and the next `step()` of optimizer and scheduler read without a default.

    `moves`: whether the trainer steps the scheduler (None: not known)."""
    path = member.path
    yield from (path("optimizer", "param_groups"), path("optimizer", "state"))
    groups = member.at("optimizer", "param_groups")
    cycled = [] if moves is False else [*rates_to_come(member), *momenta_to_come(member)]
    of_torch = ("eps", "weight_decay", *(["betas"] if _keeps_averages(member) else ()))
    for index, group in enumerate(groups if isinstance(groups, (list, tuple)) else ()):
        of_adam = of_torch if isinstance(group, dict) and "amsgrad" in group else ()
        for key in ("params", "lr", *of_adam, *cycled):
            yield path("optimizer", "param_groups", index, key)
    phases = member.at("scheduler", "_schedule_phases")
    if member.state.scheduler == "OneCycleLR" and isinstance(phases, (list, tuple)) and moves is not False:
        ends = ("start_momentum", "end_momentum") if member.at("scheduler", "cycle_momentum") else ()
        for index in range(min(len(phases), 3)):
            for key in ("end_step", "start_lr", "end_lr", *ends):
                yield path("scheduler", "_schedule_phases", index, key)


def _keeps_averages(member: Member) -> bool:
    state = member.at("optimizer", "state")
    return isinstance(state, dict) and any(isinstance(entry, dict) and "exp_avg" in entry for entry in state.values())


def rates_to_come(member: Member) -> list[str]:
    """Names under which a OneCycleLR will look up its rates in every param group, from its position on."""
    return _phases_to_come(member, "start_lr", "end_lr")


def momenta_to_come(member: Member) -> list[str]:
    """The same of its momenta; none where it leaves them alone."""
    cycles = member.at("scheduler", "cycle_momentum")
    return _phases_to_come(member, "start_momentum", "end_momentum") if cycles else []


def _phases_to_come(member: Member, *ends: str) -> list[str]:
    phases, last = member.at("scheduler", "_schedule_phases"), member.state.last_epoch or 0
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
    """Whether a trainer whose contract is known recognises the file."""
    return not case.run.by_shape and case.run.owns(case.checkpoint.path)


def which(case: Case, slot: str, of: str = "") -> str:
    """` schedulerG`, with `of` a word before it, in a message about one of several; empty where there is one."""
    return f" {of} {case.where(slot)}".replace("  ", " ") if case.several else ""


def whole_number(value: object) -> int | None:
    """The integer that a wrongly typed count stands for: `"3"`, `120.0`."""
    value = python_value(value)
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


def unusable(
    path: KeyPath, value: object, expected: str, consequence: str, count: int = 1, severity: Severity | None = None
) -> Problem:
    """A value that the trainer cannot work with, at the first of `count` such places."""
    inside = real(value) if isinstance(value, TensorRef) else None
    number = f" with {inside:.7g}" if inside is not None else ""
    return Problem(
        f"`{dotted(path)}`{and_more(count)} is {describe(value)}{number}, not {expected}: {consequence}",
        where=dotted(path),
        found=describe(value),
        expected=expected,
        severity=severity,
    )


def and_more(count: int) -> str:
    """` (and 3 more)` behind the first of four places."""
    return f" (and {count - 1:,} more)" if count > 1 else ""


def shown_rates(values: Sequence[object]) -> str:
    """The first four different rates."""
    shown = list(dict.fromkeys("absent" if value is None else f"{value:.6g}" for value in map(real, values)))
    return ", ".join(shown[:4])


def _name(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


RULES = (missing_key,)
