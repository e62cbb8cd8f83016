"""`--add-best-score`: the states of ModelCheckpoint and EarlyStopping that the file has lost."""

from __future__ import annotations

from ckpt_doctor.migrators import Fix, Plan, refused
from ckpt_doctor.trainers.lightning.memory import lost
from ckpt_doctor.types import Case, Edit, mapping_of

NAME = "add-best-score"


def _plan(case: Case) -> Plan:
    """Write the states of ModelCheckpoint and EarlyStopping as they were when this file was saved.

    They come from a later file of the run that keeps the score of every epoch: its `best_k_models` cut to this step,
    EarlyStopping replayed over those scores. Where that replay does not give what the later file has, or scores are
    missing, nothing is written."""
    missing = lost(case)
    proven = [state for state in missing if state.value is not None]
    if missing and not proven:
        return refused(NAME, missing[0].told, "a later file of the run, saved with save_top_k=-1")
    if proven and case.checkpoint.container != "torch-zip":
        reason = f"tensors cannot be added to a {case.checkpoint.container} file"
        return refused(NAME, reason, "a file that torch 1.6 or later wrote")
    notes = tuple(
        f"the state of {state.kind} remains missing: {state.told}" for state in missing if state.value is None
    )
    if mapping_of(case.checkpoint.get("callbacks")) is not None:
        edits = [
            Edit(state.path, "absent", dict(state.value or {}), state.told, donor=state.donor.checkpoint)
            for state in proven
        ]
        return Plan(tuple(edits), notes=notes)
    donors = {state.donor.checkpoint.path for state in proven}
    if len(donors) > 1:
        return refused(NAME, "the states come from several files", "one later file that has all of them")
    whole = {state.path[-1]: dict(state.value or {}) for state in proven}
    if not whole:
        return Plan()
    evidence = "; ".join(dict.fromkeys(state.told for state in proven))
    edit = Edit(("callbacks",), "absent", whole, evidence, donor=proven[0].donor.checkpoint)
    return Plan((edit,), notes=notes)


FIX = Fix(NAME, _plan, cures=("E611",), reveals=("E604", "E610"))
