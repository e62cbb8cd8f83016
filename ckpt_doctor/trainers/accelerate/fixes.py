"""`--sync-scheduler`: a schedule in step with the optimizer; `scheduler.bin` is written where it is not there."""

from __future__ import annotations

from typing import Any

from ckpt_doctor.migrators import Fix, Plan, refused, sync_rng, sync_scheduler
from ckpt_doctor.trainers.accelerate.layout import SCHEDULER, files
from ckpt_doctor.trainers.accelerate.resume_point import rebuilt_schedule
from ckpt_doctor.types import Case, Edit

NAME = sync_scheduler.NAME


def _plan(case: Case) -> Plan:
    """Write `scheduler.bin` as another folder of the run has it, moved to Adam's steps; else as for every trainer.

    Its rates must come out as those that the optimizer has. Of a schedule that is a function of the script they are
    taken from the optimizer."""
    if SCHEDULER in files(case.checkpoint):
        return sync_scheduler.FIX.plan(case)
    rebuilt = rebuilt_schedule(case.member, case.run)
    if rebuilt is None:
        return refused(NAME, "no folder of the run has a schedule that fits the optimizer's rates", "another folder")
    value: Any = rebuilt.value
    return Plan((Edit((SCHEDULER,), "absent", value, rebuilt.source),))


FIXES: tuple[Fix, ...] = (
    Fix(NAME, _plan, cures=(*sync_scheduler.FIX.cures, "F114")),
    sync_rng.FIX,
)
"""In the order in which they are planned."""
