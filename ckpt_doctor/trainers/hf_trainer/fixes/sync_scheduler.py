"""`--sync-scheduler`: a schedule in step with the optimizer; `scheduler.pt` is written where it is not there."""

from __future__ import annotations

from ckpt_doctor.migrators import Migration, Plan, refused, sync_scheduler
from ckpt_doctor.trainers.hf_trainer.layout import SCHEDULER, has_scheduler
from ckpt_doctor.trainers.hf_trainer.rebuilt import scheduler_state
from ckpt_doctor.types import Case, Edit

NAME = sync_scheduler.NAME


def _plan(case: Case) -> Plan:
    """Write `scheduler.pt` from the optimizer's rates and the step; else as for every trainer."""
    if has_scheduler(case.checkpoint):
        return sync_scheduler.MIGRATION.plan(case)
    state = scheduler_state(case)
    if state is None:
        reason = "the content of scheduler.pt cannot be computed from optimizer.pt"
        return refused(NAME, reason, "another checkpoint of the run")
    return Plan((Edit((SCHEDULER,), "absent", state.value, state.source),))


MIGRATION = Migration(NAME, _plan, cures=(*sync_scheduler.MIGRATION.cures, "F114"))
