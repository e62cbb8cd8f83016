"""What differs between two checkpoints: keys, values, tensors. Data for `ckpt-doctor diff`."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable, Iterator, Set
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor.audit.opening import read_file
from ckpt_doctor.audit.runs import resume_file
from ckpt_doctor.errors import UsageError
from ckpt_doctor.inert import limits
from ckpt_doctor.inert.dtypes import item_size
from ckpt_doctor.inert.numpy_values import array_bytes, array_shown
from ckpt_doctor.inert.tensor_list import bytes_needed, is_plain, left_to_do
from ckpt_doctor.inert.units import Held, content_of, inner_of, tensors_of
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.tensor_bytes import byte_order
from ckpt_doctor.readers.views import open_view
from ckpt_doctor.types import (
    Checkpoint,
    Comparison,
    Difference,
    Global,
    KeyPath,
    NumpyScalar,
    Opaque,
    TensorInfo,
    TensorRef,
    equal,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_CHUNK = 1 << 20
_MOST_GATHERED = 256 << 20
"""Bytes of a tensor that is compared as a whole, since its elements lie in another order or with gaps."""
_SECRET = re.compile(r"(hub|hf|auth|access|bearer|api)_?(token|key)|secret|password|credential", re.IGNORECASE)
_LONG = 256
"""Plain values in a row that are compared at one go."""
_ATOMS = (str, int, float, bytes, complex, type(None))


INCOMPLETE = ("truncated-archive", "missing-part", "missing-record", "corrupt-record", "malformed-pickle")
"""Damage of which a comparison of what is left would say nothing."""


def comparable(path: Path) -> Checkpoint:
    """Open a file, or of a folder the file that the trainer takes; UsageError where it has nothing to compare."""
    checkpoint = read_file(resume_file(path))
    if checkpoint.root is None and not checkpoint.tensors:
        why = checkpoint.damage[0].message if checkpoint.damage else "it holds nothing"
        raise UsageError(f"{checkpoint.path} cannot be compared: {why}")
    return checkpoint


def incomplete(*checkpoints: Checkpoint) -> list[str]:
    """What is missing in checkpoints that are compared, a sentence each."""
    files = [file for checkpoint in checkpoints for file in (checkpoint, *checkpoint.parts)]
    return [f"{file.path}: {damage.message}" for file in files for damage in file.damage if damage.kind in INCOMPLETE]


def compare(left: Checkpoint, right: Checkpoint, *, deep: bool = False) -> Comparison:
    """Compare two checkpoints by path. With `deep` also the bytes of tensors of the same type and shape.

    Containers are not compared: the same content as a legacy stream and as an archive is no difference, nor is it in
    how many files a model lies.
    """
    inner = inner_of(left)
    ours = {held[0].path: held for held in (*tensors_of(left), *inner)}
    theirs = {held[0].path: held for held in (*tensors_of(right), *inner_of(right))}
    tensors: list[Difference] = []
    alike: list[tuple[Held, Held]] = []
    for path in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(path), theirs.get(path)
        if a is None or b is None:
            tensors.append(Difference(path, "added" if a is None else "removed", _about(a), _about(b)))
            continue
        found = list(_tensor_differences(a[0], b[0]))
        tensors += found
        if not any(difference.kind in ("dtype", "shape") for difference in found):
            alike.append((a, b))
    not_compared: list[TensorInfo] = []
    if deep:
        tensors += _byte_differences(alike, not_compared)
    differing = [tensor.path for tensor in not_compared]
    differing += [difference.path for difference in tensors if difference.kind not in ("added", "removed")]
    touched = _beginnings(differing)  # a tensor is another one where one is that it is made of
    inside = {tensor.path for tensor, _ in inner}
    unchanged = sum(a.path not in touched and a.path not in inside for (a, _), _ in alike)
    values = tuple(_value_differences(content_of(left), content_of(right)))
    return Comparison(values, tuple(tensors), unchanged, deep, tuple(tensor.name for tensor in not_compared))


def _about(held: Held | None) -> str | None:
    return None if held is None else f"{held[0].dtype} {list(held[0].shape)}"


def _tensor_differences(a: TensorInfo, b: TensorInfo) -> Iterator[Difference]:
    if a.dtype != b.dtype:
        yield Difference(a.path, "dtype", a.dtype, b.dtype)
    if a.shape != b.shape:
        yield Difference(a.path, "shape", a.shape, b.shape)
    if a.device != b.device:
        yield Difference(a.path, "device", a.device, b.device)


# --- values ----------------------------------------------------------------------------------------------------------


def _value_differences(left: object, right: object) -> Iterator[Difference]:
    a, b = dict(_flat(left)), dict(_flat(right))
    in_a, in_b = _beginnings(a), _beginnings(b)
    only: dict[tuple[KeyPath, str], list[object]] = {}
    found: list[Difference | tuple[KeyPath, str]] = []
    for path in dict.fromkeys([*a, *b]):
        if path in a and path in b:
            found += _changed(path, a[path], b[path])
            continue
        here, there, kind = (a, in_b, "removed") if path in a else (b, in_a, "added")
        # The highest container that the other has nothing of stands for all that is in it
        top = next((path[:n] for n in range(1, len(path)) if path[:n] not in there), path)
        if (top, kind) not in only:
            found.append((top, kind))
        only.setdefault((top, kind), []).append(here[path])
    for item in found:
        if isinstance(item, Difference):
            yield item
            continue
        path, kind = item
        count = sum(len(value) if isinstance(value, tuple) else 1 for value in only[item])
        shown = _shown(path, only[item][0]) if len(only[item]) == 1 else f"{count:,} values"
        if kind == "added":
            yield Difference(path, "added", None, shown)
        else:
            yield Difference(path, "removed", shown, None)


def _changed(path: KeyPath, a: object, b: object) -> Iterator[Difference]:
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        for index, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _changed((*path, index), left, right)
    elif type(a) is not type(b) or not equal(a, b):  # 1 is not 1.0
        yield Difference(path, "changed", _shown(path, a), _shown(path, b))


def _shown(path: KeyPath, value: object) -> object:
    """The value, unless its name says that it is a secret of whoever trained: a saved command has its access token."""
    named = path[-1] if path else ""
    is_secret = isinstance(value, str) and isinstance(named, str) and _SECRET.search(named)
    return "(a secret, not shown)" if is_secret and value else value


def _beginnings(paths: Iterable[KeyPath]) -> set[KeyPath]:
    """Every path and whatever leads to it."""
    return {path[:length] for path in paths for length in range(min(1, len(path)), len(path) + 1)}


def _flat(root: object) -> Iterator[tuple[KeyPath, object]]:
    """Paths and plain values; an empty container, an object and an array by a description, and what it holds."""
    rest: list[tuple[object, KeyPath, tuple[int, ...]]] = [(root, (), ())]
    seen: set[int] = set()
    shared = 0
    while rest:
        value, path, around = rest.pop()
        if isinstance(value, TensorRef) and is_plain(value):
            if lazy := left_to_do(value):
                yield path, f"{lazy} view"
        elif isinstance(value, NumpyScalar):
            yield path, value.value
        elif isinstance(value, _ATOMS):
            yield path, value
        elif isinstance(value, (list, tuple)) and len(value) > _LONG and all(type(v) in _ATOMS for v in value):
            yield path, tuple(value)
        elif isinstance(value, Global):
            yield path, str(value)
        elif isinstance(value, bytearray):
            yield path, bytes(value)
        elif isinstance(value, (set, frozenset)):
            yield path, _set(value)
        else:
            inside = list(_inside(value))
            if isinstance(value, Opaque):
                yield path, _object(value)
            elif isinstance(value, (dict, list, tuple)) and not inside:
                yield path, f"empty {'dict' if isinstance(value, dict) else type(value).__name__}"
            # What two places share stands in both, as in a file where it is not shared, within reason
            shared += len(inside) if id(value) in seen else 0
            if id(value) in around or len(path) > limits.MAX_DEPTH or shared > limits.MAX_SHARED:
                continue
            seen.add(id(value))
            chain = (*around, id(value))
            rest.extend((part, (*path, *at), chain) for at, part in reversed(inside))


def _set(value: Set[object]) -> str:
    rows = (item if isinstance(item, tuple) else (item,) for item in value)
    plain = all(isinstance(part, _ATOMS) for row in rows for part in row)
    return "{" + ", ".join(sorted(map(repr, value))) + "}" if plain else f"a set of {len(value):,}"


def _inside(value: object) -> Iterator[tuple[KeyPath, object]]:
    """Parts of a container, or of an object: what it is made from, its attributes, its items."""
    if isinstance(value, dict):
        yield from ((_at(key), part) for key, part in value.items())
    elif isinstance(value, (list, tuple)):
        yield from (((index,), part) for index, part in enumerate(value))
    elif isinstance(value, TensorRef):
        yield from _inside(value.source)  # of more than a view of bytes: scales, sizes, attributes
    elif isinstance(value, Opaque) and array_shown(value) is None:
        for name, made_from in (("args", value.args), ("kwargs", value.kwargs)):
            if isinstance(made_from, (tuple, dict)):
                yield from (((name, *at), part) for at, part in _inside(made_from))
        for state in value.states:
            plain = isinstance(state, dict)
            yield from ((at if plain else ("state", *at), part) for at, part in _inside(state))
        yield from (((index,), part) for index, part in enumerate(value.items))
        yield from ((_at(key), part) for key, part in value.pairs)


def _at(key: object) -> KeyPath:
    return (key if isinstance(key, int) else str(key),)


def _object(value: Opaque) -> object:
    """An object's name; of a numpy array also a checksum of its bytes, so that a change is seen."""
    name = array_shown(value)
    if name is None:
        return str(value.callee) if isinstance(value.callee, Global) else "an object"
    raw = array_bytes(value)
    return name if raw is None else f"{name} of {len(raw):,} bytes, CRC-32 {zlib.crc32(raw):08x}"


# --- bytes -----------------------------------------------------------------------------------------------------------


def _byte_differences(alike: list[tuple[Held, Held]], not_compared: list[TensorInfo]) -> Iterator[Difference]:
    held = (pair for pair in alike if pair[0][0].storage.key and 0 not in pair[0][0].shape)  # the others have no bytes
    # Two files at a time are open: a checkpoint may have more than a process may open
    for (one, other), pairs in groupby(held, key=lambda pair: (pair[0][1].path, pair[1][1].path)):
        with open_view(one) as ours, open_view(other) as theirs:
            for (a, left), (b, right) in pairs:
                count = _differing_bytes(ours, theirs, a, b, (_swapped_unit(left, a), _swapped_unit(right, b)))
                if count is None:
                    not_compared.append(a)
                elif count:
                    yield Difference(a.path, "bytes", f"{count:,} of {a.nbytes:,} bytes differ", None)


def _swapped_unit(checkpoint: Checkpoint, tensor: TensorInfo) -> int:
    """How many bytes in a row are to be reversed, as torch.load does; 1 where they lie as on this machine's kind."""
    dtype = tensor.storage.dtype
    size = item_size(dtype) // (2 if dtype.startswith("complex") else 1)
    return size if byte_order(checkpoint) == ">" else 1


def _differing_bytes(
    ours: FileView, theirs: FileView, a: TensorInfo, b: TensorInfo, units: tuple[int, int]
) -> int | None:
    """How many bytes of two tensors of one type and shape differ; None when that cannot be read off."""
    import numpy as np  # for this only: comparing two files' metadata starts without it

    if a.storage.offset is None or b.storage.offset is None:
        return None
    size = item_size(a.dtype)
    if a.stride != b.stride or bytes_needed(a) - a.storage_offset * size != a.nbytes:
        one, other = _gathered(ours, a), _gathered(theirs, b)
        if one is None or other is None:
            return None
        return int(np.count_nonzero(_little(one, units[0]) != _little(other, units[1])))
    starts = (a.storage.offset + a.storage_offset * size, b.storage.offset + b.storage_offset * size)
    different = 0
    for at in range(0, a.nbytes, _CHUNK):
        count = min(_CHUNK, a.nbytes - at)
        left, right = ours.read_through(starts[0] + at, count), theirs.read_through(starts[1] + at, count)
        if len(left) < count or len(right) < count:
            return None
        if left != right or units[0] != units[1]:
            one, other = _little(np.frombuffer(left, "u1"), units[0]), _little(np.frombuffer(right, "u1"), units[1])
            different += int(np.count_nonzero(one != other))
    return different


def _little(raw: npt.NDArray[np.uint8], unit: int) -> npt.NDArray[np.uint8]:
    """The bytes in little-endian order."""
    return raw if raw.shape[-1] % unit else raw.reshape(*raw.shape[:-1], -1, unit)[..., ::-1].reshape(raw.shape)


def _gathered(view: FileView, tensor: TensorInfo) -> npt.NDArray[np.uint8] | None:
    """The bytes of a tensor in the order of its elements; of one without strides (sparse), its whole storage."""
    import numpy as np

    storage, size = tensor.storage, item_size(tensor.dtype)
    # What is repeated (a stride of 0) is looked at once
    shape = tuple(1 if step == 0 else n for n, step in zip(tensor.shape, tensor.stride, strict=False))
    first = tensor.storage_offset * size
    strided = len(tensor.stride) == len(tensor.shape)
    length = bytes_needed(tensor) - first if strided else storage.nbytes - first
    if storage.offset is None or max(length, math.prod(shape) * size) > _MOST_GATHERED:
        return None
    raw = view.read_through(storage.offset + first, length)
    if len(raw) < length:
        return None
    flat = np.frombuffer(raw, "u1")
    if not strided:
        return flat
    steps = (*(step * size for step in tensor.stride), 1)
    return np.lib.stride_tricks.as_strided(flat, (*shape, size), steps, writeable=False)
