"""`--plain-scalars`: numpy numbers in the metadata become Python numbers."""

from __future__ import annotations

from ckpt_doctor.inert.numpy_values import plain_values
from ckpt_doctor.migrators.fix import Fix, Plan
from ckpt_doctor.types import Case, Edit

NAME = "plain-scalars"


def _plan(case: Case) -> Plan:
    """Write numpy scalars and numpy's random state as Python numbers, so that `weights_only=True` accepts the file.

    A `numpy.float64` becomes the same float to the last bit. The key array of numpy's Mersenne Twister in `rng_state`
    becomes a list of integers, which `numpy.random.set_state` takes as well. In a torch file that no known trainer
    owns, other arrays of up to 10,000 numbers become lists of the same numbers (nested as the array was), beside the
    model; a script that uses one as an array needs `numpy.asarray`. All else of numpy stays, and is named.
    """
    owned = case.run.owns(case.checkpoint.path)
    found = list(plain_values(case.checkpoint, owned=owned))
    edits = tuple(Edit(v.path, v.shown, v.plain, "the same number") for v in found if v.plain is not None)
    lists = [v for v in found if isinstance(v.plain, list) and "uint32" not in v.shown]
    arrays = [Edit(v.path, None, None, "").key for v in lists]
    stay = [Edit(v.path, None, None, "").key for v in found if v.plain is None]
    notes = []
    if arrays:
        note = "numpy arrays become lists, and a script that computes with one needs numpy.asarray: "
        notes.append(note + ", ".join(arrays[:5]) + (f" and {len(arrays) - 5:,} more" if len(arrays) > 5 else ""))
    if stay:
        notes.append(f"weights_only=True will still refuse the file for the numpy value at {', '.join(stay[:5])}")
    return Plan(edits, notes=tuple(notes))


FIX = Fix(NAME, _plan, cures=("S203",))
