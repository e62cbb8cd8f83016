"""`--fix-epoch`: the step in `trainer_state.json`, and all that depends on it."""

from __future__ import annotations

from ckpt_doctor.migrators import Fix, Plan, fix_epoch, refused
from ckpt_doctor.trainers.hf_trainer.layout import STATE
from ckpt_doctor.trainers.hf_trainer.rebuilt import is_of_another_step, state_from_others
from ckpt_doctor.types import Case, Edit

NAME = fix_epoch.NAME


def _plan(case: Case) -> Plan:
    """Set `global_step` where Adam's counter and another witness prove it wrong.

    A state of another step also has another history and another best metric. It is cut at this step, or taken from a
    later checkpoint, or from an earlier one with no evaluation in between.
    """
    if not is_of_another_step(case):
        return fix_epoch.FIX.plan(case)
    state = state_from_others(case)
    if state is None:
        reason = f"{STATE} is of step {case.state.global_step:,}, and an evaluation may lie between"
        return refused(NAME, reason, "a later checkpoint")
    return Plan((Edit((STATE,), f"of step {case.state.global_step:,}", state.value, state.source),))


FIX = Fix(NAME, _plan, fix_epoch.FIX.cures, (*fix_epoch.FIX.reveals, "E604", "E609", "E610"))
