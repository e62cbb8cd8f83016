"""`--add-trainer-state`: `trainer_state.json`, from another checkpoint of the same run."""

from __future__ import annotations

from ckpt_doctor.migrators import Fix, Plan, refused
from ckpt_doctor.trainers.hf_trainer.layout import STATE, file_names
from ckpt_doctor.trainers.hf_trainer.parts import is_lost
from ckpt_doctor.trainers.hf_trainer.rebuilt import trainer_state
from ckpt_doctor.types import Case, Edit

NAME = "add-trainer-state"


def _plan(case: Case) -> Plan:
    """Write `trainer_state.json` from a later checkpoint of the run, or from an earlier one, where it is lost or cut.

    A later one has the whole history: it is cut at this step, and the best metric and EarlyStopping's counter are
    replayed. An earlier one will do only where no evaluation lies between, for its result would be lost.
    """
    is_there = STATE in file_names(case.checkpoint)
    if is_there and not is_lost(case.checkpoint, STATE):
        return Plan()
    state = trainer_state(case)
    if state is None:
        reason = "no other checkpoint of this run shows what trainer_state.json contained"
        return refused(NAME, reason, "a later checkpoint, or an earlier one with no evaluation in between")
    return Plan((Edit((STATE,), "unreadable" if is_there else "absent", state.value, state.source),))


FIX = Fix(NAME, _plan, cures=("F101", "F104", "F105", "F114"), reveals=("E604", "E609", "E610", "P404"))
