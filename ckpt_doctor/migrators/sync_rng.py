"""`--sync-rng`: the random state that deals the interrupted epoch's batches again."""

from __future__ import annotations

from ckpt_doctor.inert.numpy_values import numpy_values
from ckpt_doctor.migrators.fix import Fix, Plan, refused
from ckpt_doctor.types import Case, Checkpoint, Edit

NAME = "sync-rng"


def _plan(case: Case) -> Plan:
    """Put into a step file the generators' states from which the uninterrupted run dealt this epoch's batches.

    They are copied from EarlyStopping's `checkpoint` where it was saved at the end of the epoch before (of Accelerate
    from the folder `epoch_N` of that epoch), numpy's key array as plain numbers. In the first epoch `rng_state` becomes
    None: a new process seeds itself as the first one did. Where no file contains them, the repair is refused. Needed
    for loaders that shuffle; harmless for others.
    """
    late, shuffle = case.late_random_state, case.run.facts.shuffle
    if shuffle is not None and not shuffle.value:
        return Plan()
    if late is None:
        inside = case.member.role != "best" and isinstance(case.at("rng"), dict)
        if inside and case.resume.skip_batches is None:
            return refused(NAME, "where in its epoch the file was saved is not known", "--steps-per-epoch N")
        return Plan()
    if late.cure is None:
        reason = f"{case.where('rng')} was saved {late.why}, and no file holds the state of this epoch's beginning"
        return refused(NAME, reason, "a checkpoint saved at the end of the epoch before")
    holder = _holder(case)
    if late.donor is not None and holder.container != "torch-zip":
        return refused(NAME, f"tensors cannot be added to a {holder.container} file", "a file of torch 1.6 on")
    path, before = case.path("rng"), "saved in the middle of the epoch"
    whole = Edit(path, before, late.cure.value, late.cure.source, donor=late.donor)
    numbers = [value for value in numpy_values(late.cure.value) if value.plain is not None]
    return Plan((whole, *(Edit((*path, *n.path), n.shown, n.plain, "the same numbers") for n in numbers)))


def _holder(case: Case) -> Checkpoint:
    """The file that holds the random state: the checkpoint, or its part."""
    unit, name = case.checkpoint, case.path("rng")[0]
    return next((part for part in unit.parts if unit.name_of(part) == name), unit)


FIX = Fix(NAME, _plan, cures=("R510",))
