"""`--fix-best-path`: the best checkpoint's path, where its folder lies beside this one."""

from __future__ import annotations

from ckpt_doctor.migrators import Fix, Plan
from ckpt_doctor.trainers.hf_trainer import best_path
from ckpt_doctor.trainers.hf_trainer.layout import STATE
from ckpt_doctor.types import Case, Edit

NAME = "fix-best-path"


def _plan(case: Case) -> Plan:
    """Set `best_model_checkpoint` to the folder of that name in this run, where the path leads nowhere."""
    place = best_path.of(case.member)
    if place is None or place.is_there or place.beside is None:
        return Plan()
    path, evidence = (STATE, "best_model_checkpoint"), f"{place.name} is beside this one"
    return Plan((Edit(path, place.told, str(place.beside), evidence),))


FIX = Fix(NAME, _plan, cures=("E610",))
