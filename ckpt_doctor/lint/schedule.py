"""Learning-rate schedules in scripts: which calls step one, and how."""

from __future__ import annotations

import ast
import re

from ckpt_doctor.lint.effects import loads
from ckpt_doctor.lint.guards import loop_of, words
from ckpt_doctor.lint.module import Call
from ckpt_doctor.lint.nodes import dotted, last_name
from ckpt_doctor.lint.program import Program

SCHEDULER_NAME = re.compile(r"sched|(^|_)lr_?(policy|decay)", re.IGNORECASE)
SCHEDULER_CLASS = re.compile(r"(LR|Scheduler|ReduceLROnPlateau|WarmRestarts)$|lr_scheduler\.|get_\w*schedule")
_METRIC_WORDS = frozenset({"loss", "acc", "accuracy", "metric", "metrics", "score", "error"})


def is_scheduler_step(program: Program, call: Call) -> bool:
    """Whether a call is `scheduler.step()`, by the variable's name or by what it was made as."""
    func = call.node.func
    if not (isinstance(func, ast.Attribute) and func.attr == "step") or len(call.node.args) > 1:
        return False  # with two arguments it is a step of another kind: diffusers' `noise_scheduler.step(pred, t, x)`
    if SCHEDULER_NAME.search(last_name(func.value)):
        return True
    made = (b.value for b in program.values_of(call.module, func.value) if isinstance(b.value, ast.Call))
    return any(SCHEDULER_CLASS.search(program.name_of(Call(call.module, value))) for value in made)


def is_absolute(call: ast.Call) -> bool:
    """`scheduler.step(epoch + 1)` sets the schedule to a place instead of moving it on."""
    names = (n for a in (*call.args, *(k.value for k in call.keywords)) for n in ast.walk(a))
    found = (words(last_name(n)) for n in names)
    return any(f & {"epoch", "step", "iter", "iters", "i"} and not f & _METRIC_WORDS for f in found)


def catches_up(program: Program, steps: list[Call]) -> bool:
    """Whether the scheduler is stepped after loading, once or as often as before, ahead of the training loop."""
    loading = {(c.module, c.module.function(c.node)) for c in loads(program)}
    outside = [c for c in steps if loop_of(program, c) is None or only_steps(program, c)]
    return any((c.module, c.module.function(c.node)) in loading for c in outside)


def only_steps(program: Program, step: Call) -> bool:
    """Whether the loop around a step does nothing but step the scheduler to where it was."""
    loop = loop_of(program, step)
    if loop is None or len(getattr(loop.node, "body", [])) != 1:
        return False
    calls = (Call(loop.module, node) for node in loop.module.calls(loop.node))
    return all(is_scheduler_step(program, c) or dotted(c.node.func) == "range" for c in calls)
