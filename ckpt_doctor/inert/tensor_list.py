"""Finds the tensors of what a pickle built, and tells a state dict from a training checkpoint."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.dtypes import PER_BYTE, item_size
from ckpt_doctor.inert.rebuild import contiguous
from ckpt_doctor.inert.tree import PLAIN, UNNAMED, Parts, Step, path_of
from ckpt_doctor.types import (
    MODEL_KEYS,
    Damage,
    Global,
    InertDict,
    KeyPath,
    Layout,
    NumpyScalar,
    Opaque,
    TensorInfo,
    TensorRef,
    mapping_of,
)

_NAMES = frozenset({str, int})
"""Types of keys that a path has as they are."""
_MOST_INNER = 16
"""Levels below a tensor in which others are looked for."""
_PLAIN = ("_rebuild_tensor_v2", "_rebuild_tensor")
_SPARSE = ("torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_sparse_csr_tensor")

# torch/nn/modules/module.py, `Module.__init__`: where a pickled module keeps its parts. Left out of tensor names, as in
# `named_parameters()`.
_MODULE_PARTS = ("_parameters", "_buffers", "_modules")


class Tensors(NamedTuple):
    """The tensors of a file."""

    all: tuple[TensorInfo, ...]
    """`Checkpoint.tensors`: every distinct tensor object once, in document order, by the first path that reaches it."""
    inner: tuple[TensorInfo, ...]
    """`Checkpoint.inner`."""
    damage: list[Damage]


def find_tensors(root: object) -> Tensors:
    """Every tensor under `root`, and those that they are made of."""
    found: list[TensorInfo] = []
    inner: list[TensorInfo] = []
    seen: set[int] = set()
    damage: list[Damage] = []
    for path, tensor in walk_tensors(root):
        if tensor is None:
            message = f"values nested deeper than {limits.MAX_DEPTH:,} levels were not searched for tensors"
            damage.append(Damage("limit-exceeded", message))
            continue
        found.append(describe(tensor, path))
        if _is_of_others(tensor):
            for name, part in inner_tensors(tensor, seen):
                if part.storage.key not in ("", tensor.storage.key):
                    inner.append(describe(part, (*path, *name)))
    damage += out_of_bounds([*found, *inner])
    return Tensors(tuple(found), tuple(inner), damage)


def walk_tensors(root: object, parts: Parts | None = None) -> Iterator[tuple[KeyPath, TensorRef | None]]:
    """Paths and tensors, each tensor object once; at the end, once, None where nesting was too deep to be searched.

    `parts` gives the keys and values of what is looked into; without it that is whatever may have tensors.
    """
    parts = parts or _children
    too_deep = False
    seen: set[int] = set()
    rest: list[tuple[Iterator[tuple[Any, object]], Step | None]] = [(iter([(UNNAMED, root)]), None)]
    while rest:
        inside, step = rest[-1]
        depth = step[2] if step else 0
        path: KeyPath | None = None  # spelled out once for all tensors that follow each other
        for key, value in inside:
            if type(value) in PLAIN or id(value) in seen:
                continue
            seen.add(id(value))
            if type(value) is TensorRef:
                path = path_of(step) if path is None else path
                yield (path if key is UNNAMED else (*path, key)), value
            elif depth + (key is not UNNAMED) < limits.MAX_DEPTH:
                rest.append((iter(parts(value)), step if key is UNNAMED else (step, key, depth + 1)))
                break
            else:
                too_deep = too_deep or any(type(part) not in PLAIN for _, part in parts(value))
        else:
            rest.pop()
    if too_deep:
        yield (), None


def inner_tensors(tensor: TensorRef, seen: set[int] | None = None) -> Iterator[tuple[KeyPath, TensorRef]]:
    """All tensors that a tensor is made of, with how they are called in it.

    `seen`: ids of what other tensors have shown already and is passed over, so that what a thousand share costs once.
    """
    if not _is_of_others(tensor):
        return
    seen = set() if seen is None else seen
    seen.add(id(tensor))
    rest: list[tuple[object, KeyPath]] = [(tensor.source, ())]
    for _ in range(limits.MAX_SHARED):
        if not rest:
            return
        value, path = rest.pop()
        if type(value) in PLAIN or id(value) in seen or len(path) > _MOST_INNER:
            continue
        seen.add(id(value))
        if type(value) is TensorRef:
            yield path, value
            value = value.source
        if type(value) is Opaque and str(value.callee) in _SPARSE and type(value.args) is tuple:
            data = value.args[1] if len(value.args) > 1 and type(value.args[1]) is tuple else ()
            parts = [part for part in data if type(part) is TensorRef]
            names = ("compressed_indices", "plain_indices", "values")[3 - len(parts) :]
            names = ("indices", "values") if len(parts) == 2 else names
            rest.extend(reversed([(part, (*path, name)) for name, part in zip(names, parts, strict=False)]))
            continue
        children = list(_children(value))
        alone = sum(type(child) is TensorRef for _, child in children) < 2
        for key, child in reversed(children):
            named = type(key) is str or (type(key) is int and type(child) is TensorRef and not alone)
            rest.append((child, (*path, key) if named else path))


def _is_of_others(tensor: TensorRef) -> bool:
    """Whether others may be found below a tensor: it is more than a view of a storage, or a parameter that is one."""
    source = tensor.source
    if type(source.callee) is Global and source.callee.name == "_rebuild_parameter" and type(source.args) is tuple:
        data = source.args[0] if source.args else None
        source = data.source if type(data) is TensorRef and data.storage is tensor.storage else source
    if type(source.callee) is Global and source.callee.name in _PLAIN:
        return bool(tensor.source.states)
    of_values = type(source.args) is tuple and PLAIN.issuperset(map(type, source.args))  # as of a safetensors file
    return not of_values or bool(source.kwargs or source.items or source.pairs or source.states)


def is_plain(tensor: TensorRef) -> bool:
    """Whether a tensor is a view of one storage and nothing more, so that it can be written with torch's own calls."""
    called = [str(tensor.source.callee)]
    if called[0].startswith("torch._tensor._rebuild_from_type") and isinstance(tensor.source.args, tuple):
        called.append(str(tensor.source.args[0]))  # a subclass: what it is filled from tells
    strided = bool(tensor.storage.key) and len(tensor.stride) == len(tensor.shape)
    others = any(name.endswith(("_nested_tensor", "_qtensor", "_wrapper_subclass")) for name in called)
    return strided and not others and not tensor.dtype.startswith(("qint", "quint"))


def left_to_do(tensor: TensorRef) -> str:
    """What torch.load marks as still to be done to a tensor's bytes: torch/_utils.py, `set_tensor_metadata`."""
    args = tensor.source.args
    said = args[-1] if isinstance(args, tuple) and len(args) > 6 else None
    return " and ".join(name for name in ("conj", "neg") if isinstance(said, dict) and said.get(name))


def describe(tensor: TensorRef, path: KeyPath) -> TensorInfo:
    """The public description of a tensor at a path."""
    dtype, shape, stride, storage = tensor.dtype, tensor.shape, tensor.stride, tensor.storage
    # Sparse or nested: what its values take, not what they would if dense
    nbytes = storage.nbytes if not stride and shape else _bytes_of(math.prod(shape), dtype)
    return TensorInfo(path, dtype, shape, stride, storage.location, nbytes, storage, tensor.storage_offset)


def out_of_bounds(tensors: list[TensorInfo]) -> list[Damage]:
    """Tensors that reach beyond their storage: `torch.load` raises "setStorage: ... are out of bounds"."""
    damage: list[Damage] = []
    for tensor in tensors:
        if tensor.nbytes == tensor.storage.nbytes and not tensor.storage_offset and is_contiguous(tensor):
            continue
        needed = bytes_needed(tensor)
        if needed > tensor.storage.nbytes and len(damage) < limits.MAX_DAMAGE:
            message = f"the tensor needs {needed:,} bytes of a storage of {tensor.storage.nbytes:,}; loading raises"
            damage.append(Damage("missing-record", message, tensor.name, tensor.storage.nbytes, needed))
    return damage


def bytes_needed(tensor: TensorInfo) -> int:
    """How long a storage must be to hold the tensor; 0 where that is not laid down by its strides."""
    if not tensor.storage.key or len(tensor.stride) != len(tensor.shape) or 0 in tensor.shape:
        return 0
    return _bytes_of(tensor.storage_offset + span(tensor.shape, tensor.stride), tensor.dtype)


def _bytes_of(count: int, dtype: str) -> int:
    return -(-count * item_size(dtype) // PER_BYTE.get(dtype, 1))


def is_contiguous(tensor: TensorInfo | TensorRef) -> bool:
    """Whether the elements of a tensor lie one behind the other, in their order."""
    usual = contiguous(tensor.shape)
    if tensor.stride == usual:
        return True
    pairs = zip(tensor.shape, tensor.stride, usual, strict=False)
    return len(tensor.stride) == len(usual) and all(n == 1 or stride == step for n, stride, step in pairs)


def span(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """How many elements of a storage lie from the first to the last that a view has."""
    elements = 1
    for size, step in zip(shape, stride, strict=False):
        elements += (size - 1) * step
    return elements


def _children(value: object) -> Iterable[tuple[Any, object]]:
    if type(value) is dict and _NAMES.issuperset(map(type, value)):  # as nearly all are
        return value.items()
    return () if type(value) is TensorRef else _odd_children(value)


def _odd_children(value: object) -> Iterator[tuple[Any, object]]:
    if isinstance(value, dict):
        for key, child in value.items():
            if type(key) is TensorRef:
                yield _key(key), key
            yield _key(key), child
        if type(value) is InertDict:  # a state_dict's `_metadata`, a defaultdict's factory
            yield UNNAMED, value.source.args
            for state in value.source.states:
                yield UNNAMED, state
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif isinstance(value, (set, frozenset)):
        for child in value:
            yield UNNAMED, child
    elif type(value) is Opaque:
        yield UNNAMED, value.args
        yield UNNAMED, value.kwargs
        for state in value.states:
            yield from _attributes(state)
        yield from enumerate(value.items)
        for key, child in value.pairs:
            yield _key(key), child


def _attributes(state: object) -> Iterator[tuple[Any, object]]:
    """An object's attributes; the parts of a module without their container's name."""
    if not isinstance(state, dict):
        yield UNNAMED, state
        return
    for key, child in state.items():
        yield (UNNAMED if key in _MODULE_PARTS else _key(key)), child


def _key(key: object) -> str | int:
    if type(key) is str or type(key) is int:
        return key
    if isinstance(key, (float, bool, bytes, type(None))):
        return repr(key)
    return str(key) if type(key).__name__ == "Global" else f"<{type(key).__name__}>"


# --- layout ----------------------------------------------------------------------------------------------------------

_IS_OF_TRAINING = re.compile("optim|sched|epoch|step|iter|best|loss|scaler|rng|callbacks|loops|lr", re.I).search


def layout(root: object) -> Layout:
    """`state-dict`: names to tensors; `training`: state dicts under a key beside training keys; else `other`."""
    top = mapping_of(root)
    if not top:
        return "other"
    if is_state_dict(top):
        return "state-dict"
    names = [key for key in top if type(key) is str]
    training = [key for key in names if _IS_OF_TRAINING(key)]
    for key, value in top.items():
        others = [name for name in training if name != key]
        if others and (
            is_state_dict(value) or _are_several(value) or (key in MODEL_KEYS and isinstance(value, dict) and not value)
        ):
            return "training"
    return "other"


def _are_several(value: object) -> bool:
    """Whether a value is a list or a dict of several models: the first two items show it."""
    held = mapping_of(value)
    items = held.values() if held is not None else value if isinstance(value, (list, tuple)) else ()
    return len(items) > 1 and all(map(is_state_dict, islice(items, 2)))


def is_state_dict(value: object) -> bool:
    """Whether a value maps names to tensors.

    A few other values occur in real ones: `_extra_state` of any type (`Module.get_extra_state`), numbers and flags.
    """
    mapping = mapping_of(value)
    if mapping is None:
        return False
    tensors = others = 0
    for key, item in mapping.items():
        if type(key) is not str:
            return False
        if type(item) is TensorRef:
            tensors += 1
        elif key.endswith("_extra_state") or isinstance(
            item, (str, int, float, bytes, type(None), NumpyScalar, Global)
        ):
            others += 1
        else:
            return False
    return tensors > 0 and others <= max(tensors, 1)
