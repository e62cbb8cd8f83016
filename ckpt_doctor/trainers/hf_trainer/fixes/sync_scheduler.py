"""`--sync-scheduler`: a schedule in step with the optimizer; `scheduler.pt` is written where it is not there."""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor.migrators import Fix, Plan, refused, sync_scheduler
from ckpt_doctor.trainers.hf_trainer import rates
from ckpt_doctor.trainers.hf_trainer.layout import SCHEDULER, has_scheduler
from ckpt_doctor.trainers.hf_trainer.parts import is_lost
from ckpt_doctor.trainers.hf_trainer.progress import counts_no_steps
from ckpt_doctor.trainers.hf_trainer.rebuilt import scheduler_state
from ckpt_doctor.trainers.schedules import has_inner_state
from ckpt_doctor.types import Case, Edit

NAME = sync_scheduler.NAME


def _plan(case: Case) -> Plan:
    """Write `scheduler.pt` from the optimizer's rates and the step where it is lost; else as for every trainer.

    Base rates that do not give the rates of the log, or at this step, are replaced by those that do. An
    optimizer that counts no steps and has another rate may be of another step with its moments as well: its rate is
    not set.
    """
    is_there = has_scheduler(case.checkpoint)
    if is_there and not is_lost(case.checkpoint, SCHEDULER):
        is_moved = case.state.last_epoch != case.resume.last_epoch
        if is_moved and has_inner_state(case.at("scheduler")) and case.changes is None:
            return refused(NAME, "the schedule's formula is not in the file", "another checkpoint of the run")
        plan, base = sync_scheduler.FIX.plan(case), rates.base_rates_instead(case.member)
        if not base and counts_no_steps(case.member) and _sets_a_rate(plan):
            reason = "the optimizer has the rate of another step, and its moments, which count no steps, may be of that"
            return refused(NAME, reason, "another checkpoint of the run")
        if base is None:
            return plan
        evidence = "the rates in log_history, or the optimizer's, which follow from it"
        return replace(plan, edits=(*plan.edits, case.edit("scheduler", "base_lrs", after=[*base], evidence=evidence)))
    state = scheduler_state(case)
    if state is None:
        reason = "the content of scheduler.pt cannot be computed from optimizer.pt"
        return refused(NAME, reason, "another checkpoint of the run")
    return Plan((Edit((SCHEDULER,), "unreadable" if is_there else "absent", state.value, state.source),))


def _sets_a_rate(plan: Plan) -> bool:
    return any(edit.path[-1:] == ("lr",) for edit in plan.edits)


FIX = Fix(NAME, _plan, cures=(*sync_scheduler.FIX.cures, "F101", "F103", "F104", "F105", "F114"))
