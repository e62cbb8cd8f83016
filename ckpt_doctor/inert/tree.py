"""Inert trees as values: walk one, compare two, copy one with changes. Sharing, cycles and depth are respected."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from ckpt_doctor.inert import limits
from ckpt_doctor.types import Global, InertDict, NumpyScalar, Opaque, StorageInfo, TensorRef

Step = tuple["Step | None", Any, int]
"""Parent, key, depth: paths are spelled out where they are needed only."""
Parts = Callable[[object], Iterable[tuple[Any, object]]]
"""Keys and values of what is to be looked into; none of what is not."""
UNNAMED = object()
"""The key of a part that adds nothing to its path."""
PLAIN = frozenset({str, int, bool, float, bytes, type(None)})
_ATOMS = (str, int, float, bool, bytes, complex, type(None))


def walk(
    root: object,
    parts: Parts,
    deepest: int = limits.MAX_DEPTH,
    again: int = 0,
) -> Iterator[tuple[object, Step | None]]:
    """Every object under `root` but plain values, in document order, with the step that leads to it.

    `parts` gives the keys and values of what is to be looked into (`UNNAMED` adds nothing to the path), and none
    for what is not. What has parts comes once, by the first path that reaches it; all else wherever it stands. `again`:
    how many parts of what came already are walked once more. What lies `deepest` steps down is not looked into.
    """
    seen: set[int] = set()
    rest: list[tuple[object, Step | None]] = [] if type(root) in PLAIN else [(root, None)]
    while rest:
        value, step = rest.pop()
        known = id(value) in seen
        if known and again <= 0:
            continue
        yield value, step
        depth = step[2] + 1 if step else 1
        if depth > deepest:
            continue
        inside = list(parts(value))
        if known:
            again -= len(inside)
        elif inside:
            seen.add(id(value))
        for key, part in reversed(inside):
            if type(part) not in PLAIN:
                rest.append((part, step if key is UNNAMED else (step, key, depth)))


def items(value: object) -> Iterable[tuple[Any, object]]:
    """Keys, or indices, and values of a dict, a list or a tuple."""
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, (list, tuple)) else ()


def path_of(step: Step | None) -> tuple[Any, ...]:
    """The path that a step ends."""
    keys = []
    while step is not None:
        keys.append(step[1])
        step = step[0]
    return tuple(reversed(keys))


def same(a: object, b: object) -> str | None:
    """The first place where two trees differ, as text; None when they say the same.

    Types, values, order of dict keys and sharing must agree: two references to one object on one side must be
    references to one object on the other. NaN equals NaN; 0.0 and -0.0 differ. Where storages lie is not compared.
    """
    forward: dict[int, int] = {}
    backward: dict[int, int] = {}
    rest: list[tuple[object, object, Step]] = [(a, b, (None, ("root", None), 0))]
    while rest:
        left, right, step = rest.pop()
        if type(left) is not type(right):
            return f"{_path(step)}: {type(left).__name__} and {type(right).__name__}"
        if isinstance(left, _ATOMS):
            if not _equal_atoms(left, right):
                return f"{_path(step)}: {left!r:.80} and {right!r:.80}"
            continue
        if type(left) is Global or type(left) is StorageInfo:
            if _place(left) != _place(right):
                return f"{_path(step)}: {left} and {right}"
            continue
        if isinstance(left, tuple) and isinstance(right, tuple):  # as the state of a Mersenne Twister
            are_numbers = {*map(type, left), *map(type, right)} == {int}
            if are_numbers and left == right:
                continue
        known = forward.get(id(left)), backward.get(id(right))
        if known == (id(right), id(left)):
            continue
        if known != (None, None) and type(left) not in (tuple, frozenset):  # identity of tuples means nothing
            return f"{_path(step)}: shared on one side only"
        forward[id(left)], backward[id(right)] = id(right), id(left)
        parts = _parts(left), _parts(right)
        if len(parts[0]) != len(parts[1]):
            return f"{_path(step)}: {len(parts[0])} and {len(parts[1])} parts"
        pairs = [(x, y, (step, (form, key), 0)) for (form, key, x), (_, _, y) in zip(*parts, strict=True)]
        rest.extend(reversed(pairs))
    return None


def _path(step: Step) -> str:
    return "".join(form.format(repr(key)) for form, key in path_of(step))


def _place(value: object) -> object:
    return replace(value, offset=None) if isinstance(value, StorageInfo) else value


def _equal_atoms(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack(">d", a) == struct.pack(">d", b) or (a != a and b != b)
    return a == b or (a != a and b != b)


_Parts = list[tuple[str, object, object]]


def _parts(value: object) -> _Parts:
    """What an object is made of; before each part how its place is written: a form, and the key that goes into it."""
    if isinstance(value, dict):
        parts: _Parts = []
        for key, item in value.items():
            parts += ((" key {:.60}", key, key), ("[{:.60}]", key, item))
        return parts + (_call_parts(value.source) if isinstance(value, InertDict) else [])
    if isinstance(value, (list, tuple)):
        return [("[{}]", i, item) for i, item in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        return [("{{}}", None, item) for item in sorted(value, key=lambda x: (type(x).__name__, repr(x)))]
    if isinstance(value, TensorRef):
        about = repr((value.dtype, value.shape, value.stride, value.storage_offset, value.is_parameter))
        return [(".storage", None, value.storage), (".about", None, about), *_call_parts(value.source)]
    if isinstance(value, NumpyScalar):
        return [(".value", None, value.value), (".dtype", None, value.dtype), *_call_parts(value.source)]
    if isinstance(value, Opaque):
        return _call_parts(value)
    return [("", None, bytes(value) if isinstance(value, bytearray) else repr(value))]


def _call_parts(call: Opaque) -> _Parts:
    parts: _Parts = [(".via", None, call.via), (".callee", None, call.callee)]
    parts += ((".args", None, call.args), (".kwargs", None, call.kwargs))
    parts += [(".items[{}]", i, item) for i, item in enumerate(call.items)]
    for key, item in call.pairs:
        parts += ((" key", None, key), (".pairs", None, item))
    return parts + [(".state", None, state) for state in call.states]


def transform(root: object, change: Callable[[object], object]) -> object:
    """A copy of a tree in which a value `v` is `change(v)` wherever that is another object.

    `change` is asked about every object but plain numbers, texts and names; what it returns is taken as it is, without
    looking into it. It may be asked more than once about a tuple. Storages are seen wherever a tensor refers to them: a
    changed `StorageInfo` changes every tensor on it. Sharing and cycles of the original are those of the copy.
    """
    copies: dict[int, object] = {}
    storages: dict[StorageInfo, object] = {}
    begun: list[object] = []
    rest: list[object] = [root]

    def copy_of(value: object) -> object:
        return copies.get(id(value), value)

    while rest:
        value = rest[-1]
        if _is_plain(value) or id(value) in copies:
            rest.pop()
            continue
        if isinstance(value, StorageInfo):
            if value not in storages:
                storages[value] = change(value)
            copies[id(value)] = storages[value]
            continue
        changed = change(value)
        if changed is not value:
            copies[id(value)] = changed
        elif isinstance(value, (tuple, frozenset)):  # can only be made of finished parts
            missing = [part for part in value if not _is_plain(part) and id(part) not in copies]
            if missing:
                rest.extend(missing)
            else:
                copies[id(value)] = type(value)(map(copy_of, value))
        else:
            rest.pop()
            copies[id(value)] = _shell(value)
            begun.append(value)
            rest.extend(value if isinstance(value, (list, set)) else (part for *_, part in _parts(value)))
    for value in begun:
        _fill(value, copies[id(value)], copy_of)
    return copy_of(root)


def _is_plain(value: object) -> bool:
    return isinstance(value, (*_ATOMS, Global))


def _shell(value: object) -> object:
    """An empty object of the same kind, to be filled once all others exist."""
    if isinstance(value, InertDict):
        return InertDict(Opaque(None, None))
    if isinstance(value, (TensorRef, NumpyScalar)):
        return replace(value, source=Opaque(None, None))
    return Opaque(None, None) if isinstance(value, Opaque) else type(value)()


def _fill(value: object, copy: object, copy_of: Callable[[object], object]) -> None:
    if isinstance(value, list) and isinstance(copy, list):
        copy.extend(map(copy_of, value))
    elif isinstance(value, dict) and isinstance(copy, dict):
        for key, item in value.items():
            copy[copy_of(key)] = copy_of(item)
    elif isinstance(value, set) and isinstance(copy, set):
        copy.update(map(copy_of, value))
    elif isinstance(value, bytearray) and isinstance(copy, bytearray):
        copy.extend(value)
    elif isinstance(value, Opaque) and isinstance(copy, Opaque):
        _fill_call(value, copy, copy_of)
    if isinstance(value, TensorRef) and isinstance(copy, TensorRef):
        storage = copy_of(value.storage)
        copy.storage = storage if isinstance(storage, StorageInfo) else value.storage
    if isinstance(value, (InertDict, TensorRef, NumpyScalar)) and isinstance(copy, (InertDict, TensorRef, NumpyScalar)):
        _fill_call(value.source, copy.source, copy_of)


def _fill_call(call: Opaque, copy: Opaque, copy_of: Callable[[object], object]) -> None:
    copy.via = call.via
    copy.callee, copy.args, copy.kwargs = copy_of(call.callee), copy_of(call.args), copy_of(call.kwargs)
    copy.items = list(map(copy_of, call.items))
    copy.pairs = [(copy_of(key), copy_of(item)) for key, item in call.pairs]
    copy.states = list(map(copy_of, call.states))
