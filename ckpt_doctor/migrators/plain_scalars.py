"""`--plain-scalars`: numpy numbers in the metadata become Python numbers."""

from __future__ import annotations

from ckpt_doctor.inert.numpy_values import numpy_values
from ckpt_doctor.migrators.migration import Migration, Plan
from ckpt_doctor.types import Case, Edit

NAME = "plain-scalars"


def _plan(case: Case) -> Plan:
    """Write numpy scalars and numpy's random state as Python numbers, so that `weights_only=True` accepts the file.

    A `numpy.float64` becomes the same float to the last bit. The key array of numpy's Mersenne Twister in `rng_state`
    becomes a list of integers, which `numpy.random.set_state` takes as well. Other arrays stay, and are named.
    """
    found = list(numpy_values(case.checkpoint.root))
    edits = tuple(Edit(v.path, v.shown, v.plain, "the same number") for v in found if v.plain is not None)
    stay = [Edit(v.path, None, None, "").key for v in found if v.plain is None]
    note = f"weights_only=True will still refuse the file for the numpy value at {', '.join(stay[:5])}"
    return Plan(edits, notes=(note,) if stay else ())


MIGRATION = Migration(NAME, _plan, cures=("S203",))
