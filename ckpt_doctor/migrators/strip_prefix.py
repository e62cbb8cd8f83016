"""`--strip-prefix`: `module.` and `_orig_mod.` off the model's keys."""

from __future__ import annotations

from ckpt_doctor.migrators.migration import Migration, Plan
from ckpt_doctor.types import Case, Edit

NAME = "strip-prefix"
WRAPPERS = ("_orig_mod.", "module.")


def _plan(case: Case) -> Plan:
    """Take the prefix of a wrapping module off every key of the model, and off its `_metadata`.

    Only where every key carries it: a model with a submodule that happens to be called `module` is left alone.
    """
    path = () if case.checkpoint.layout == "state-dict" else ("model",)
    model = case.checkpoint.get(*path) if path else case.checkpoint.root
    if not isinstance(model, dict) or not model or not all(isinstance(key, str) for key in model):
        return Plan()
    prefix = ""
    while wrapper := next((w for w in WRAPPERS if all(key.startswith(prefix + w) for key in model)), None):
        prefix += wrapper
    if not prefix:
        return Plan()
    return Plan((Edit(path, prefix, "", f"all {len(model)} model keys carry it", "strip"),))


MIGRATION = Migration(NAME, _plan, cures=("L304",))
