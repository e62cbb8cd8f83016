"""`--sync-scheduler`: the schedule of the resume point; another file's where this one has lost it."""

from __future__ import annotations

from ckpt_doctor.migrators import Fix, Plan, refused, sync_scheduler
from ckpt_doctor.trainers.lightning import pace
from ckpt_doctor.trainers.lightning.schedule import is_without_schedule, rebuilt
from ckpt_doctor.types import Case, Edit

NAME = sync_scheduler.NAME


def _plan(case: Case) -> Plan:
    """Write another file's schedule, moved to this file's place, where `lr_schedulers` is empty; else as for everyone.

    Its rates must come out as those that the optimizer has. Of several optimizers each has its own schedule; a list
    that lacks some of them is written whole, in another file's order."""
    if any(pace.donor(one.member, case.run) for one in case.optimizers):
        return _whole_list(case)
    if not is_without_schedule(case.checkpoint):
        placed = [one for one in case.further if one.resume.last_epoch is not None]
        first = [] if placed and case.resume.last_epoch is None else [case]
        return sync_scheduler.joined(map(sync_scheduler.FIX.plan, [*first, *placed]))
    found = rebuilt(case.member, case.run)
    if found is None:
        return refused(NAME, "no other file has a schedule with this file's rates", "another checkpoint of the run")
    return Plan((Edit(("lr_schedulers",), [], [found.value], found.source),))


def _whole_list(case: Case) -> Plan:
    found = pace.rebuilt(case.member, case.run)
    if found is None:
        return refused(NAME, "no other file has schedules with this file's rates", "another checkpoint of the run")
    return Plan((Edit(("lr_schedulers",), case.checkpoint.get("lr_schedulers"), found.value, found.source),))


FIX = Fix(NAME, _plan, cures=(*sync_scheduler.FIX.cures, "R508"))
