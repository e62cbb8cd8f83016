"""`--strip-prefix`: `module.` and `_orig_mod.` off the model's keys."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.inert.shapes import find
from ckpt_doctor.migrators.fix import Fix, Plan
from ckpt_doctor.types import Case, Edit, KeyPath, model_path, wrapper_of

NAME = "strip-prefix"


def _plan(case: Case) -> Plan:
    """Take the prefix of a wrapping module off every key of the model, and off its `_metadata`.

    Only where every key carries it: a model with a submodule that happens to be called `module` is left alone.
    """
    edits = []
    for path, model in _models(case):
        prefix = wrapper_of(model)
        if prefix and isinstance(model, dict):
            edits.append(Edit(path, prefix, "", f"all {len(model)} model keys carry it", "strip"))
    return Plan(tuple(edits))


def _models(case: Case) -> Iterator[tuple[KeyPath, object]]:
    """The model that a known trainer loads; of other files, every state_dict."""
    if case.run.owns(case.checkpoint.path):
        path = model_path(case.checkpoint)
        yield path, case.checkpoint.get(*path)
    else:
        yield from ((model.path, model.value) for model in find(case.checkpoint).models)


FIX = Fix(NAME, _plan, cures=("L304",))
