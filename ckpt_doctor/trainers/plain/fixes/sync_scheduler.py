"""`--sync-scheduler`: the whole schedule of the resume point into the file, for any of torch's schedulers."""

from __future__ import annotations

from ckpt_doctor.migrators import Migration, Plan, refused, sync_scheduler
from ckpt_doctor.trainers.plain.position import finished
from ckpt_doctor.trainers.plain.schedule import donors, expected_position, rebuilt, target
from ckpt_doctor.trainers.schedules import Stepped, moves
from ckpt_doctor.trainers.state import param_groups
from ckpt_doctor.types import Case, Edit, mapping_of

NAME = sync_scheduler.NAME


def _plan(case: Case) -> Plan:
    """Take the steps that the scheduler lacks: all of its state, and the optimizer's rate and momentum.

    In torch's own arithmetic where the formula is in the state. For a LambdaLR, whose formula is in the script, from
    the sibling that was saved one epoch later and likewise before its scheduler's step: it has the very state that is
    wanted. A rate that is a tensor is not repaired: its value is among the bytes. A file that lacks its schedule gets
    a sibling's at its own position, if its rates are those of that schedule.
    """
    member, run = case.member, case.run
    if not isinstance(case.at("scheduler"), dict):
        return _anew(case)
    expected = expected_position(member, run)
    if expected is None and finished(member, run) is None:
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


MIGRATION = Migration(NAME, _plan, cures=("R501", "R502", "R508"))
