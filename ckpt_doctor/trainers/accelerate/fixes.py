"""`--sync-scheduler`: a schedule in step with the optimizer; `scheduler.bin` is written where it is not there."""

from __future__ import annotations

from typing import Any

from ckpt_doctor.migrators import Migration, Plan, refused, sync_rng, sync_scheduler
from ckpt_doctor.trainers.accelerate.layout import SCHEDULER, files
from ckpt_doctor.trainers.accelerate.resume_point import rebuilt_schedule
from ckpt_doctor.trainers.schedules import changes, moved_to
from ckpt_doctor.types import Case, Edit

NAME = sync_scheduler.NAME


def _plan(case: Case) -> Plan:
    """Write `scheduler.bin` as another folder of the run has it, moved to Adam's steps; else as for every trainer.

    Its rates must come out as those that the optimizer has. Of a schedule that is a function of the script they are
    taken from the optimizer."""
    if SCHEDULER in files(case.checkpoint):
        return _moved_inside(case) or sync_scheduler.MIGRATION.plan(case)
    rebuilt = rebuilt_schedule(case.member, case.run)
    if rebuilt is None:
        return refused(NAME, "no folder of the run has a schedule that fits the optimizer's rates", "another folder")
    value: Any = rebuilt.value
    return Plan((Edit((SCHEDULER,), "absent", value, rebuilt.source),))


def _moved_inside(case: Case) -> Plan | None:
    """The edits of a schedule whose state is more than a position and rates; None for the others."""
    state, groups, position = case.at("scheduler"), case.at("optimizer", "param_groups"), case.resume.last_epoch
    if not isinstance(state, dict) or not _INSIDE.intersection(state) or not isinstance(groups, list):
        return None
    try:
        moved = None if position is None else moved_to(state, groups, position)
    except ValueError:
        moved = None
    if moved is None:
        return None  # of which the shared fix says why
    found = [(case.path("scheduler", *path), before, after) for path, before, after in changes(state, moved.state)]
    for index, (group, wanted) in enumerate(zip(groups, moved.groups, strict=True)):
        at = case.path("optimizer", "param_groups", index)
        found += [((*at, *path), before, after) for path, before, after in changes(group, wanted)]
    return Plan(tuple(Edit(path, before, after, case.schedule.evidence) for path, before, after in found))


_INSIDE = frozenset({"T_cur", "_schedulers"})
FIXES: tuple[Migration, ...] = (
    Migration(NAME, _plan, cures=(*sync_scheduler.MIGRATION.cures, "F114")),
    sync_rng.MIGRATION,
)
"""In the order in which they are planned."""
