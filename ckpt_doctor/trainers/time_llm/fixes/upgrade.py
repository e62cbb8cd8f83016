"""`--upgrade`: a bare state_dict becomes a training checkpoint."""

from __future__ import annotations

from ckpt_doctor.migrators import Fix, Plan, refused
from ckpt_doctor.types import Case, Edit

NAME = "upgrade"


def _plan(case: Case) -> Plan:
    """Put a legacy state_dict under `model` and write beside it what the evidence proves.

    `epoch`, `global_step`, `best_score` and its kin come from the run's log (or `--epoch`, `--val-loss`); the
    optimizer's param groups and the schedule from a sibling of the same model, moved to that step, or computed from
    the given facts, else None, which the complete trainer accepts. Adam's moments cannot be recovered, unless a step
    checkpoint beside it has the very same weights (by their stored checksums): then all is taken from that one. Weights
    stay byte for byte."""
    if case.checkpoint.layout != "state-dict":
        return Plan()
    upgrade = case.upgrade
    if upgrade is None:
        return refused(NAME, "no known trainer wrote this file", "the path of a run folder's checkpoint")
    if upgrade.refusal:
        return refused(NAME, upgrade.refusal, upgrade.settle)
    wrap = Edit(("model",), "bare state_dict", "training dict", "the dict format of the trainer", "wrap")
    edits = [
        Edit((key,), "absent", fact.value, fact.source, donor=upgrade.donor) for key, fact in upgrade.values.items()
    ]
    return Plan((wrap, *edits), notes=upgrade.notes)


FIX = Fix(NAME, _plan, cures=("L301",), reveals=("O702", "R508", "R506", "P404", "E601", "E604", "L304"))
