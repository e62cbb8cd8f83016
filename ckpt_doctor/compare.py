"""What differs between two checkpoints: keys, values, tensors. Data for `ckpt-doctor diff`."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ckpt_doctor.numpy_values import array_shown
from ckpt_doctor.readers import limits
from ckpt_doctor.readers.dtypes import item_size
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.types import Checkpoint, Global, KeyPath, NumpyScalar, Opaque, TensorInfo

_CHUNK = 1 << 20

Kind = Literal["added", "removed", "changed", "dtype", "shape", "device", "bytes"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same in both."""

    path: KeyPath
    kind: Kind
    """`added`: only in B. `dtype`, `shape`, `device`, `bytes` are of tensors, `changed` of all other values."""
    left: object
    """In A: a number, text, or a short description."""
    right: object

    @property
    def name(self) -> str:
        """The path as people write it."""
        return ".".join(map(str, self.path))


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints side by side."""

    values: tuple[Difference, ...]
    """Of everything but tensors: the training state, keys, optimizer settings."""
    tensors: tuple[Difference, ...]
    unchanged_tensors: int
    """Tensors of the same path, type and shape (and, with `deep`, of the same bytes)."""
    deep: bool
    not_compared: tuple[str, ...] = ()
    """Tensors whose bytes could not be read in one of the files."""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.values and not self.tensors


def compare(left: Checkpoint, right: Checkpoint, *, deep: bool = False) -> Comparison:
    """Compare two checkpoints by path. With `deep` also the bytes of tensors of the same type and shape.

    Containers are not compared: the same content as a legacy stream and as an archive is no difference.
    """
    ours = {tensor.path: tensor for tensor in left.tensors}
    theirs = {tensor.path: tensor for tensor in right.tensors}
    tensors: list[Difference] = []
    alike: list[tuple[TensorInfo, TensorInfo]] = []
    for path in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(path), theirs.get(path)
        if a is None or b is None:
            tensors.append(Difference(path, "added" if a is None else "removed", _about(a), _about(b)))
            continue
        found = list(_tensor_differences(a, b))
        tensors += found
        if not any(difference.kind in ("dtype", "shape") for difference in found):
            alike.append((a, b))
    not_compared: list[str] = []
    if deep:
        tensors += _byte_differences(left, right, alike, not_compared)
    touched = {difference.path for difference in tensors if difference.kind not in ("added", "removed")}
    unchanged = sum(a.path not in touched for a, _ in alike)
    values = tuple(_value_differences(left.root, right.root))
    return Comparison(values, tuple(tensors), unchanged, deep, tuple(not_compared))


def _about(tensor: TensorInfo | None) -> str | None:
    return None if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"


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
            if a[path] != b[path] and not (a[path] != a[path] and b[path] != b[path]):  # NaN is NaN
                found.append(Difference(path, "changed", a[path], b[path]))
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
        shown = only[item][0] if len(only[item]) == 1 else f"{len(only[item]):,} values"
        if kind == "added":
            yield Difference(path, "added", None, shown)
        else:
            yield Difference(path, "removed", shown, None)


def _beginnings(paths: Iterable[KeyPath]) -> set[KeyPath]:
    """Every path and whatever leads to it."""
    return {path[:length] for path in paths for length in range(1, len(path) + 1)}


def _flat(root: object) -> Iterator[tuple[KeyPath, object]]:
    """Paths and plain values; empty containers and objects by their description."""
    rest: list[tuple[object, KeyPath]] = [(root, ())]
    seen: set[int] = set()
    while rest:
        value, path = rest.pop()
        if isinstance(value, NumpyScalar):
            yield path, value.value
        elif isinstance(value, (str, int, float, bytes, complex, type(None))):
            yield path, value
        elif isinstance(value, (dict, list, tuple)) and value:
            if id(value) in seen or len(path) > limits.MAX_DEPTH:
                continue
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            rest.extend(reversed([(part, (*path, key if isinstance(key, int) else str(key))) for key, part in items]))
        elif isinstance(value, (dict, list, tuple)):
            yield path, f"empty {'dict' if isinstance(value, dict) else type(value).__name__}"
        elif isinstance(value, Global):
            yield path, str(value)
        elif isinstance(value, Opaque):
            yield path, _object(value)


def _object(value: Opaque) -> object:
    """An object's name, with a checksum of plain bytes in its state: a numpy array that changed is seen."""
    state = value.states[0] if value.states else None
    raw = next((part for part in state if isinstance(part, bytes)), None) if isinstance(state, tuple) else None
    name = array_shown(value) or (str(value.callee) if isinstance(value.callee, Global) else "an object")
    return name if raw is None else f"{name} of {len(raw):,} bytes, CRC-32 {zlib.crc32(raw):08x}"


# --- bytes -----------------------------------------------------------------------------------------------------------


def _byte_differences(
    left: Checkpoint, right: Checkpoint, alike: list[tuple[TensorInfo, TensorInfo]], not_compared: list[str]
) -> Iterator[Difference]:
    with FileView(left.path) as ours, FileView(right.path) as theirs:
        for a, b in alike:
            if a.storage.location == "meta" or 0 in a.shape:
                continue
            count = _differing_bytes(ours, theirs, a, b)
            if count is None:
                not_compared.append(a.name)
            elif count:
                yield Difference(a.path, "bytes", f"{count:,} of {a.nbytes:,} bytes differ", None)


def _differing_bytes(ours: FileView, theirs: FileView, a: TensorInfo, b: TensorInfo) -> int | None:
    """How many bytes of two tensors of one type and shape differ; None when that cannot be read off."""
    import numpy as np  # for this only: comparing two files' metadata starts without it

    size = item_size(a.dtype)
    spans = []
    for tensor in (a, b):
        span = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride, strict=False))
        if tensor.storage.offset is None or tensor.stride != a.stride or span * size != tensor.nbytes:
            return None
        spans.append(tensor.storage.offset + tensor.storage_offset * size)
    different = 0
    for at in range(0, a.nbytes, _CHUNK):
        count = min(_CHUNK, a.nbytes - at)
        one, other = ours.read_at(spans[0] + at, count), theirs.read_at(spans[1] + at, count)
        if len(one) < count or len(other) < count:
            return None
        if one != other:
            different += int(np.count_nonzero(np.frombuffer(one, "u1") != np.frombuffer(other, "u1")))
    return different
