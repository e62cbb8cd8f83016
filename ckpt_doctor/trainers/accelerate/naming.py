"""A folder's name against the steps in it: what its number counts, and which of the two is of another moment."""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor.trainers.accelerate.command import facts_of
from ckpt_doctor.trainers.accelerate.habits import habits_of
from ckpt_doctor.trainers.accelerate.layout import NAMES, has_several, name_of
from ckpt_doctor.trainers.accelerate.several import due_steps
from ckpt_doctor.types import Member, Run


def named_for_rules(member: Member, run: Run) -> Member:
    """The member with the number of its name in optimizer steps, where it counts anything that can be told from steps.

    `step_N` counts batches in one kind of script and optimizer steps in another; both are right. A number that is
    higher by half or more counts batches of an accumulation, and AMP skips optimizer steps.

    Where name and schedule agree against Adam, the optimizer is of another step, and their number is the run's.
    """
    named, steps, due = name_of(member.checkpoint.path), member.state.optimizer_step, _due(member, run)
    if named is None or steps is None or has_several(member.checkpoint):
        return replace(member, named_step=None)
    number = named[1] + (facts_of(run).ahead if named[0] == "epoch" else 0)
    positions = {count * each for count in (due, number) if count is not None for each in (1, run.facts.processes)}
    if due not in (None, steps) and member.state.last_epoch in positions:
        member = replace(member, state=replace(member.state, global_step=due))
    elif due is not None and steps < due and _may_have_ended(member, run):
        return replace(member, named_step=None)  # training may have ended within the epoch
    if due is not None:
        right, rest = divmod(steps * number, due)
        prefix = next(prefix for prefix, naming in NAMES.items() if naming == named[0])
        name = "" if rest else f"{prefix}{right - number + named[1]}"
        return replace(member, named_step=due, right_name=name)
    skipped = isinstance(member.at("scaler"), dict) and named[1] > steps
    return replace(member, named_step=steps) if skipped or is_accumulated(member, run) else member


def _may_have_ended(member: Member, run: Run) -> bool:
    """Whether the folder is that of a last epoch, which training may have left early."""
    (naming, number), facts = name_of(member.checkpoint.path) or ("save", 0), facts_of(run)
    updates, steps = facts.updates, member.state.optimizer_step or 0
    inside = naming == "epoch" and updates is not None and steps % updates.value != 0
    return inside and number + facts.ahead == habits_of(run).usual.last["epoch"]


def _due(member: Member, run: Run) -> int | None:
    """The optimizer steps that a folder's name calls for in this run; AMP skips some."""
    named, facts = name_of(member.checkpoint.path), facts_of(run)
    if isinstance(member.at("scaler"), dict):
        return None
    if named is not None and named[0] == "epoch" and facts.updates is not None:
        return facts.updates.value * (named[1] + facts.ahead) or None
    if named is not None and named[0] == "save":
        return _beside_a_copy(member, run)
    return due_steps(member, habits_of(run).usual, facts.ahead)


def _beside_a_copy(member: Member, run: Run) -> int | None:
    """The steps of a schedule that no other folder has, where one has the optimizer's steps with its own schedule."""
    steps, last, habits = member.state.optimizer_step, member.state.last_epoch, habits_of(run)
    copied = bool(last) and (steps, steps) in habits.at and last != steps
    return last if copied and sum(at == last for _, at in habits.at) == 1 else None


def is_outvoted(member: Member) -> bool:
    """Whether name and schedule told the step, and not Adam."""
    return member.state.global_step != member.state.optimizer_step


def is_accumulated(member: Member, run: Run) -> bool:
    """Whether `step_N` counts batches of which several made an optimizer step; not where others count these steps."""
    named, steps = name_of(member.checkpoint.path), member.state.optimizer_step
    by_batches = named is not None and named[0] == "step" and steps is not None and 2 * named[1] >= 3 * steps
    return by_batches and _due(member, run) is None
