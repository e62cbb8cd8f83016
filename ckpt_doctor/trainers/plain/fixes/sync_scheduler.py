"""`--sync-scheduler`: the whole schedule of the resume point into the file, for any of torch's schedulers."""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor.migrators import Fix, Plan, refused, sync_scheduler
from ckpt_doctor.trainers.plain.position import standing
from ckpt_doctor.trainers.plain.schedule import donors, expected_position, rebuilt, target
from ckpt_doctor.trainers.schedules import Stepped, moves
from ckpt_doctor.trainers.state import param_groups
from ckpt_doctor.types import Case, Edit, KeyPath, Refusal, dotted, mapping_of

NAME = sync_scheduler.NAME
MOST_SIBLINGS = 100
"""Files in which the order of a list of schedules is looked for."""


def _plan(case: Case) -> Plan:
    """Take the steps that the scheduler lacks: all of its state, and the optimizer's rate and momentum.

    In torch's own arithmetic where the formula is in the state. For a LambdaLR, whose formula is in the script, from
    the sibling that was saved one epoch later and likewise before its scheduler's step: it has the very state that is
    wanted. A rate that is a tensor is not repaired: its value is among the bytes. A file that lacks its schedule gets
    a sibling's at its own position, if its rates are those of that schedule. Of several optimizers each has its own.
    """
    concerned = [one for one in case.optimizers if one.has("scheduler") or donors(one.member, one.run)]
    plan = sync_scheduler.joined(map(_of_one, concerned or [case]))
    for around in {edit.path[:-1] for edit in plan.edits if edit.before == "absent"}:
        plan = _gathered(plan, case, around)
    return plan


def _gathered(plan: Plan, case: Case, around: KeyPath) -> Plan:
    """The plan with the list or dict of schedules that lacks some written whole, in the order that a sibling has."""
    held = case.checkpoint.get(*around)
    if not around or (isinstance(held, dict) and held):
        return plan
    added = {edit.path: edit for edit in plan.edits if edit.path[:-1] == around and edit.before == "absent"}
    rest = tuple(edit for edit in plan.edits if edit.path not in added)
    moved = any(edit.path[: len(around)] == around for edit in rest)
    for other in standing(case.member, case.run).kin.members[:MOST_SIBLINGS]:
        places = [one.path("scheduler") for one in other.optimizers if one.has("scheduler")]
        places = [path for path in places if path[:-1] == around]
        kept = {
            theirs.path("scheduler"): one.at("scheduler")
            for one, theirs in zip(case.optimizers, other.optimizers, strict=True)
            if one.has("scheduler") and theirs.has("scheduler")
        }
        ordered = sorted(places, key=lambda path: path[-1] if isinstance(path[-1], int) else 0)
        states = {path: added[path].after if path in added else kept.get(path) for path in ordered}
        if moved or not added.keys() <= states.keys() or None in states.values():
            continue
        whole = {path[-1]: state for path, state in states.items()}
        after = list(whole.values()) if list(whole) == list(range(len(whole))) else whole
        before = "absent" if held is None else held
        source = "; ".join(dict.fromkeys(edit.evidence for edit in added.values()))
        return replace(plan, edits=(*rest, Edit(around, before, after, source)))
    why = f"no sibling has all schedules of {dotted(around)}, from which their order would follow"
    return replace(plan, edits=(), refusals=(Refusal(NAME, why, ""),))


def _of_one(case: Case) -> Plan:
    """For one optimizer and its schedule."""
    member, run = case.member, case.run
    if not isinstance(case.at("scheduler"), dict):
        return _anew(case)
    expected = expected_position(member, run)
    if expected is None and standing(member, run).finished is None:
        return refused(NAME, "how many epochs are finished is not known", "--steps-per-epoch N")
    if expected is None:
        return refused(NAME, "how the scheduler's position follows from epochs or steps is not clear", "")
    if expected == case.state.last_epoch:
        return Plan()
    reached = target(member, run)
    if reached is None:
        return refused(NAME, "the schedule's formula is neither in the file nor in a later sibling", "")
    moved = moves(mapping_of(case.at("scheduler")) or {}, param_groups(member), reached.at)
    return sync_scheduler.planned(
        case.edit(slot, *path, after=value, evidence=reached.source) for slot, path, _, value in moved
    )


def _anew(case: Case) -> Plan:
    """The schedule of a sibling at this file's position, under the sibling's key."""
    member, run = case.member, case.run
    if not donors(member, run):
        return refused(NAME, "the file has no scheduler state, and no file shows the schedule", "")
    reached, donor = rebuilt(member, run), donors(member, run)[0]
    if reached is None:
        why = "the file's rates are not those of its siblings' schedule at its position, or that is not known"
        return refused(NAME, why, "")
    groups = moves({}, param_groups(member), Stepped({}, reached.at.groups))
    return sync_scheduler.planned(
        [
            Edit(donor.path("scheduler"), "absent", reached.at.state, reached.source),
            *(case.edit(slot, *path, after=value, evidence=reached.source) for slot, path, _, value in groups),
        ]
    )


FIX = Fix(NAME, _plan, cures=("R501", "R502", "R508"))
