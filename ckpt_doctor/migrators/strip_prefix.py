"""`--strip-prefix`: `module.` and `_orig_mod.` off the model's keys."""

from __future__ import annotations

from ckpt_doctor.migrators.migration import Migration, Plan
from ckpt_doctor.types import Case, Edit, model_path, wrapper_of

NAME = "strip-prefix"


def _plan(case: Case) -> Plan:
    """Take the prefix of a wrapping module off every key of the model, and off its `_metadata`.

    Only where every key carries it: a model with a submodule that happens to be called `module` is left alone.
    """
    path = model_path(case.checkpoint)
    model = case.checkpoint.get(*path) if path else case.checkpoint.root
    prefix = wrapper_of(model)
    if prefix is None or not isinstance(model, dict):
        return Plan()
    return Plan((Edit(path, prefix, "", f"all {len(model)} model keys carry it", "strip"),))


MIGRATION = Migration(NAME, _plan, cures=("L304",))
