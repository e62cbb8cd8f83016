"""`--plain-scalars`: numpy numbers in the metadata become Python numbers."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ckpt_doctor.migrators.migration import Migration, Plan
from ckpt_doctor.types import Case, Edit, Global, InertDict, KeyPath, NumpyScalar, Opaque

NAME = "plain-scalars"
MAX_DEPTH = 32
"""Metadata is shallow; what lies deeper is left as it is."""


def _plan(case: Case) -> Plan:
    """Write numpy scalars and numpy's random state as Python numbers, so that `weights_only=True` accepts the file.

    A `numpy.float64` becomes the same float to the last bit. The key array of numpy's Mersenne Twister in `rng_state`
    becomes a list of integers, which `numpy.random.set_state` takes as well.
    """
    found = _scalars(case.checkpoint.root, ())
    return Plan(tuple(Edit(path, value, plain, "the same number") for path, value, plain in found))


def _scalars(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, object, object]]:
    if isinstance(value, NumpyScalar):
        if isinstance(value.value, (bool, int, float, complex)):
            yield path, f"numpy.{value.dtype} {value.value!r}", value.value
    elif isinstance(value, Opaque):
        keys = uint32_array(value)
        if keys is not None:
            yield path, f"numpy array of {len(keys)} uint32", keys
    elif len(path) < MAX_DEPTH and isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, (str, int)):
                yield from _scalars(item, (*path, key))
    elif len(path) < MAX_DEPTH and isinstance(value, (list, tuple)) and not isinstance(value, InertDict):
        for index, item in enumerate(value):
            yield from _scalars(item, (*path, index))


def uint32_array(call: Opaque) -> list[int] | None:
    """The elements of a pickled one-dimensional uint32 array; None for anything else.

    Its pickle is `_reconstruct(ndarray, (0,), b'b')` with the state `(1, shape, dtype, is_fortran, bytes)`; the dtype
    is `dtype('u4', False, True)` with a state that holds the byte order (numpy/core/src/multiarray/methods.c,
    `array_setstate`)."""
    if not isinstance(call.callee, Global) or call.callee.name != "_reconstruct" or len(call.states) != 1:
        return None
    state = call.states[0]
    if not isinstance(state, tuple) or len(state) != 5:
        return None
    shape, dtype, data = state[1], state[2], state[4]
    if isinstance(data, Opaque):  # protocol 2 spells bytes as _codecs.encode(text, 'latin1')
        args = data.args
        if str(data.callee) != "_codecs.encode" or not isinstance(args, tuple) or not isinstance(args[0], str):
            return None
        data = args[0].encode("latin-1", "replace")
    if not isinstance(dtype, Opaque) or not isinstance(dtype.args, tuple) or dtype.args[:1] != ("u4",):
        return None
    order = dtype.states[0][1] if dtype.states and isinstance(dtype.states[0], tuple) else "<"
    if not isinstance(data, bytes) or not isinstance(shape, tuple) or len(shape) != 1 or order not in ("<", ">"):
        return None
    count = shape[0]
    return list(struct.unpack(f"{order}{count}I", data)) if len(data) == 4 * count else None


MIGRATION = Migration(NAME, _plan, cures=("S203",))
