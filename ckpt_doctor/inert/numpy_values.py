"""What numpy left in a checkpoint's metadata, and the Python value that says the same where there is one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ckpt_doctor.types import Global, KeyPath, NumpyScalar, Opaque

MAX_DEPTH = 32
"""Metadata is shallow; what lies deeper is left as it is."""


@dataclass(frozen=True, slots=True)
class NumpyValue:
    """A numpy number or array of the metadata."""

    path: KeyPath
    shown: str
    plain: object
    """The number, or the list of integers; None where Python has no value that does the same."""


def numpy_values(value: object, path: KeyPath = ()) -> Iterator[NumpyValue]:
    """All numpy numbers and arrays under `value`, a tree of dicts, lists and tuples."""
    if isinstance(value, NumpyScalar):
        plain = value.value if isinstance(value.value, (bool, int, float, complex)) else None
        yield NumpyValue(path, f"numpy.{value.dtype} {value.value!r}", plain)
    elif isinstance(value, Opaque):
        if _is_array(value):
            keys = uint32_array(value)
            yield NumpyValue(path, f"numpy array of {len(keys)} uint32" if keys else "numpy array", keys)
    elif len(path) < MAX_DEPTH and isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, (str, int)):
                yield from numpy_values(item, (*path, key))
    elif len(path) < MAX_DEPTH and isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from numpy_values(item, (*path, index))


def _is_array(call: Opaque) -> bool:
    return isinstance(call.callee, Global) and call.callee.module.startswith("numpy")


_KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex", "b": "bool"}


def array_shown(call: Opaque) -> str | None:
    """`numpy array int64 [3]`, whichever numpy wrote it; None for any other object."""
    if not _is_array(call) or not call.states or not isinstance(call.states[0], tuple) or len(call.states[0]) != 5:
        return None
    shape, dtype = call.states[0][1:3]
    code = dtype.args[0] if isinstance(dtype, Opaque) and isinstance(dtype.args, tuple) and dtype.args else None
    if not isinstance(shape, tuple) or not isinstance(code, str):
        return None
    size = code.lstrip("<>=|")[1:]
    name = _KINDS.get(code.lstrip("<>=|")[:1], "")
    kind = f"{name}{8 * int(size)}" if name and size.isdecimal() and len(size) < 4 and name != "bool" else name or code
    return f"numpy array {kind} [{', '.join(map(str, shape[:8]))}]"


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
        text = data.args[0] if isinstance(data.args, tuple) and data.args else None
        if str(data.callee) != "_codecs.encode" or not isinstance(text, str):
            return None
        data = text.encode("latin-1", "replace")
    if not isinstance(dtype, Opaque) or not isinstance(dtype.args, tuple) or dtype.args[:1] != ("u4",):
        return None
    described = dtype.states[0] if dtype.states else ()
    order = described[1] if isinstance(described, tuple) and len(described) > 1 else "<"
    if not isinstance(data, bytes) or not isinstance(shape, tuple) or len(shape) != 1 or order not in ("<", ">"):
        return None
    count = shape[0]
    return list(struct.unpack(f"{order}{count}I", data)) if len(data) == 4 * count else None
