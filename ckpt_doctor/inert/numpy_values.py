"""What numpy left in a checkpoint's metadata, and the Python value that says the same where there is one."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.dtypes import STRUCT_CODES
from ckpt_doctor.inert.tree import items, path_of, walk
from ckpt_doctor.types import MODEL_KEYS, Checkpoint, Global, KeyPath, NumpyScalar, Opaque
from ckpt_doctor.types.record import record

MAX_DEPTH = 32
"""Metadata is shallow; what lies deeper is left as it is."""


@record(frozen=True, slots=True)
class NumpyValue:
    """A numpy number or array of the metadata."""

    path: KeyPath
    shown: str
    plain: object
    """The number, or numbers in lists; None where Python has no value that does the same."""


def plain_values(checkpoint: Checkpoint, *, owned: bool) -> Iterator[NumpyValue]:
    """What `--plain-scalars` finds in a checkpoint. `owned`: a known trainer resumes from it, and may want arrays.

    Arrays beside random states become lists only where nobody is known to want them as arrays, where the restricted
    unpickler would refuse them, and never among a model's weights.
    """
    refused = checkpoint.container in ("torch-zip", "torch-legacy") and not owned
    return numpy_values(checkpoint.root, arrays=refused)


def numpy_values(root: object, *, arrays: bool = False) -> Iterator[NumpyValue]:
    """All numpy numbers and arrays under `root`, a tree of dicts, lists and tuples.

    An array of one dimension of uint32, as numpy's random state has, has a plain value; with `arrays` others do, too.
    """
    for value, step in walk(root, items, MAX_DEPTH, limits.MAX_SHARED):
        path = path_of(step) if isinstance(value, (NumpyScalar, Opaque)) else ()
        if not all(isinstance(key, (str, int)) for key in path):  # which no edit can name
            continue
        if isinstance(value, NumpyScalar):
            plain = value.value if isinstance(value.value, (bool, int, float, complex)) else None
            yield NumpyValue(path, f"numpy.{value.dtype} {value.value!r}", plain)
        elif isinstance(value, Opaque) and _is_array(value):
            keys = uint32_array(value)
            if keys is None and arrays and path[:1] and path[0] not in MODEL_KEYS:
                yield NumpyValue(path, array_shown(value) or "numpy array", plain_array(value))
            else:
                yield NumpyValue(path, f"numpy array of {len(keys)} uint32" if keys else "numpy array", keys)


def _is_array(call: Opaque) -> bool:
    return isinstance(call.callee, Global) and call.callee.module.startswith("numpy")


_STRUCT = {**STRUCT_CODES, "complex64": "ff", "complex128": "dd"}


def numpy_scalar(call: Opaque) -> object:
    """The number that `multiarray.scalar(dtype, bytes)` makes; the call itself where that is not clear.

    Source: numpy/_core/src/multiarray/multiarraymodule.c, `array_scalar`.
    """
    dtype, raw = call.args[:2] if type(call.args) is tuple and len(call.args) > 1 else (None, None)
    if type(dtype) is not Opaque or str(dtype.callee) != "numpy.dtype" or type(dtype.args) is not tuple:
        return call
    code = dtype.args[0] if dtype.args else None
    name = _element(code) if type(code) is str else None
    if type(code) is not str or name not in _STRUCT:
        return call
    state = dtype.states[0] if dtype.states else None
    order = code[0] if code[0] in "<>" else "<"
    if type(state) is tuple and len(state) > 1 and state[1] in ("<", ">"):
        order = state[1]
    packed = struct.Struct(order + _STRUCT[name])
    if type(raw) is str:
        raw = _bytes_of_python_2(raw, packed.size)
    if type(raw) is not bytes or packed.size != len(raw):
        return call
    parts = packed.unpack(raw)
    return NumpyScalar(complex(*parts) if len(parts) == 2 else parts[0], name, call)


def _bytes_of_python_2(text: str, size: int) -> bytes | None:
    """The bytes of a Python 2 string, which was read as UTF-8 where it could be and as latin-1 where not."""
    for encoding in ("utf-8", "latin-1"):
        try:
            raw = text.encode(encoding)
        except UnicodeEncodeError:
            continue
        if len(raw) == size:
            return raw
    return None


_KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex", "b": "bool"}


def array_shown(call: Opaque) -> str | None:
    """`numpy array int64 [3]`, whichever numpy wrote it; None for any other object."""
    if not _is_array(call) or not call.states or not isinstance(call.states[0], tuple) or len(call.states[0]) != 5:
        return None
    shape, dtype = call.states[0][1:3]
    code = dtype.args[0] if isinstance(dtype, Opaque) and isinstance(dtype.args, tuple) and dtype.args else None
    if not isinstance(shape, tuple) or not isinstance(code, str):
        return None
    return f"numpy array {_element(code) or code} [{', '.join(map(str, shape[:8]))}]"


def _element(code: str) -> str | None:
    """`float32` of numpy's `<f4`; None of what is no number."""
    letter, size = code.lstrip("<>=|")[:1], code.lstrip("<>=|")[1:]
    name = _KINDS.get(letter)
    return f"{name}{8 * int(size)}" if name and name != "bool" and size.isdecimal() and len(size) < 4 else name


def array_bytes(call: Opaque) -> bytes | None:
    """The elements of a pickled array in row-major, little-endian order; as stored where they are no plain numbers."""
    shape, dtype, by_column, raw = call.states[0][1:5]  # type: ignore[index]
    if not isinstance(raw, bytes):
        return None
    code = dtype.args[0].lstrip("<>=|")
    described = dtype.states[0] if dtype.states else ()
    swapped = isinstance(described, tuple) and described[1:2] == (">",)
    if code[:1] not in _KINDS or not (swapped or by_column):
        return raw
    import numpy as np  # few arrays are written so

    try:
        array = np.frombuffer(raw, f"{'>' if swapped else '<'}{code}").reshape(shape, order="F" if by_column else "C")
    except (TypeError, ValueError):
        return raw
    plain: bytes = array.astype(f"<{code}").tobytes()
    return plain


def uint32_array(call: Opaque) -> list[int] | None:
    """The elements of a pickled one-dimensional uint32 array; None for anything else."""
    made = _reconstructed(call)
    if made is None or made.code != "u4" or len(made.shape) != 1 or len(made.data) != 4 * made.shape[0]:
        return None
    return list(struct.unpack(f"{made.order}{made.shape[0]}I", made.data))


def misfit(call: Opaque) -> str:
    """Why numpy refuses a pickled array: it has more or fewer bytes than its shape calls for. Empty where it does not.

    Source: numpy/_core/src/multiarray/methods.c, `array_setstate`.
    """
    made = _reconstructed(call)
    if made is None or len(made.shape) > limits.MAX_DIMENSIONS or made.code[:1] not in _KINDS:
        return ""
    size = int(made.code[1:]) if re.fullmatch("[0-9]{1,3}", made.code[1:]) else 0
    expected = math.prod(made.shape) * size
    if not size or len(made.data) == expected:
        return ""
    return f"a numpy array has {len(made.data):,} bytes, and its shape calls for {expected:,}: loading raises"


_FORMATS = {"b1": "?", "f2": "e", "f4": "f", "f8": "d"} | {
    f"{kind}{size}": (letter if kind == "i" else letter.upper())
    for kind in "iu"
    for size, letter in ((1, "b"), (2, "h"), (4, "i"), (8, "q"))
}
"""numpy's names of the types that a Python number holds exactly, and the struct module's."""
MAX_DIMENSIONS = 8
MOST_ELEMENTS = 10_000
"""Of an array that becomes a list; longer ones would swell the pickle that every reader parses whole."""


def plain_array(call: Opaque) -> object:
    """A pickled array as numbers in lists, one level for each dimension; None for one that Python's cannot stand for.

    An array without dimensions becomes a number, every number the same to the last bit.
    """
    made = _reconstructed(call)
    if made is None or made.code not in _FORMATS or len(made.shape) > MAX_DIMENSIONS:
        return None
    count = math.prod(made.shape)
    if count > MOST_ELEMENTS:
        return None
    size = int(made.code[1:])
    if len(made.data) != count * size or (not count and made.shape != (0,)):
        return None
    numbers = struct.unpack(f"{made.order}{count}{_FORMATS[made.code]}", made.data)
    strides, step = [0] * len(made.shape), 1
    for axis in range(len(made.shape)) if made.by_column else reversed(range(len(made.shape))):
        strides[axis], step = step, step * made.shape[axis]

    def nested(axis: int, start: int) -> object:
        if axis == len(made.shape):
            return numbers[start]
        return [nested(axis + 1, start + index * strides[axis]) for index in range(made.shape[axis])]

    return nested(0, 0)


@record(frozen=True, slots=True)
class _Array:
    """What a pickled array is made of."""

    shape: tuple[int, ...]
    code: str
    """`f8`."""
    order: str
    """Of its bytes: `<` or `>`."""
    by_column: bool
    data: bytes


def _reconstructed(call: Opaque) -> _Array | None:
    """An array that `_reconstruct(ndarray, (0,), b'b')` makes, with the state `(1, shape, dtype, is_fortran, bytes)`.

    The dtype is `dtype('u4', False, True)` with a state that holds the byte order
    (numpy/core/src/multiarray/methods.c, `array_setstate`).
    """
    if not isinstance(call.callee, Global) or call.callee.name != "_reconstruct" or len(call.states) != 1:
        return None
    state = call.states[0]
    if not isinstance(state, tuple) or len(state) != 5:
        return None
    _, shape, dtype, by_column, data = state
    if isinstance(data, Opaque):  # protocol 2 spells bytes as _codecs.encode(text, 'latin1')
        text = data.args[0] if isinstance(data.args, tuple) and data.args else None
        if str(data.callee) != "_codecs.encode" or not isinstance(text, str):
            return None
        data = text.encode("latin-1", "replace")
    if not isinstance(dtype, Opaque) or not isinstance(dtype.args, tuple):
        return None
    code = dtype.args[0] if dtype.args else None
    described = dtype.states[0] if dtype.states else ()
    order = described[1] if isinstance(described, tuple) and len(described) > 1 else "<"
    order = "<" if order == "|" else order
    sizes = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    if not isinstance(code, str) or not isinstance(data, bytes) or not sizes or order not in ("<", ">"):
        return None
    return _Array(shape, code, order, bool(by_column), data)
