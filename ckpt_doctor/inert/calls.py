"""What a pickle's call runs while the file is loaded: the function itself, and what this calls in turn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.callables import CALLS, LAZY, MAKERS, is_listed, keeps
from ckpt_doctor.types import Global, InertDict, NumpyScalar, Opaque, TensorRef

_HOOKS = frozenset(
    {"__setstate__", "__reduce__", "__reduce_ex__", "__call__", "__class__", "append", "extend", "add", "detach"}
)
"""Attributes that the unpickler, or torch's rebuilding of a parameter, looks up on an instance and calls; and one that
makes it another class's."""
_DEEPEST = 8
"""Rebuilding functions that call each other: torch nests two."""
_LOAD = "torch.storage._load_from_bytes"


def runs(made: Opaque) -> Iterator[Global | str]:
    """The names that a call, or the making of an instance, runs; a text for what no healthy file does.

    `made` is as the opcode says: REDUCE, INST and OBJ call; NEWOBJ runs a class's `__new__` only.
    """
    for depth in range(_DEEPEST):
        function = name_of(made.callee)
        args = made.args if type(made.args) is tuple else ()
        if function is None:
            yield from _computed(made.callee)
            return
        full = str(function)
        if depth and full == _LOAD:
            yield f"the pickle has {full} called where a rebuilding function belongs"
        if not made.via.startswith("newobj") or ("." in function.name and function.is_standard):
            yield function
        if (full == "builtins.type" and len(args) > 1) or _describes_a_class(args):
            yield "the pickle makes a class of its own, with methods of its choice"
        given = (*args, *made.kwargs.values()) if isinstance(made.kwargs, dict) else args
        if is_listed(function) and not keeps(function) and any(map(_is_made_up, _examined(full, given))):
            yield f"the pickle hands {full}, which calls methods of what it gets, an object of its own making"
        if is_listed(function) and (grown := _grows(full, keeps(function), given)):
            yield f"the pickle hands {full} {grown}: loading it may never end, or take all memory"
        if "_rebuild_from_type" in full and len(args) > 2:
            made = Opaque(args[0], args[2])
        elif full in MAKERS and args:
            yield from _called(full, args)
            made = Opaque(args[0], _new_with(full, args), via="newobj")
        else:
            yield from _called(full, args)
            return
    yield "the pickle has functions called that call others, more deeply than any rebuilding does"


def name_of(value: object) -> Global | None:
    """The class or function that a value is: by its name, or by that of the class that it is taken from.

    Legacy streams name a module's class in a persistent id (torch/serialization.py, `_legacy_save.persistent_id`).
    """
    if type(value) is Opaque and value.via == "persid":
        pid = value.args
        value = pid[1] if type(pid) is tuple and len(pid) > 1 and pid[0] in ("module", b"module") else None
    elif type(value) is Opaque and type(value.args) is tuple and value.args and type(value.args[0]) is Global:
        value = attribute(value)
    return value if type(value) is Global else None


def attribute(call: Opaque) -> Global | None:
    """What `getattr(owner, "name")` names: `torch.optim.lr_scheduler.OneCycleLR._annealing_cos`."""
    if str(call.callee) != "builtins.getattr" or call.via != "reduce":
        return None
    if type(call.args) is not tuple or len(call.args) != 2:
        return None
    owner, name = call.args
    if type(owner) is Opaque:
        owner = _class_of(owner)
    if type(owner) is not Global or type(name) is not str or not name.isidentifier():
        return None
    return Global(owner.module, f"{owner.name}.{name}")


def replaces_a_method(state: object) -> bool:
    """Whether what BUILD sets puts something that can be called in the place of an object's own method."""
    parts = state if type(state) is tuple else (state,)
    return any(
        key in _HOOKS and type(value) in (Global, Opaque)
        for part in parts
        if isinstance(part, dict)
        for key, value in part.items()
        if type(key) is str
    )


def _class_of(made: Opaque) -> object:
    if str(made.callee) == "copyreg._reconstructor" and type(made.args) is tuple and made.args:
        return name_of(made.args[0])
    return name_of(made.callee) if made.via == "newobj" else None


def _computed(callee: object) -> Iterator[Global | str]:
    """A call of something that no name in the file says: what an earlier call returned.

    PyTorch Geometric's `DynamicInheritanceGetter()(...)` makes every `Batch`: an instance of another package, made from
    nothing, is called like that package's function. What was made of anything that the file says may be anything.
    """
    if type(callee) is Opaque:
        name = callee.callee
        filled = callee.args or callee.states or callee.items or callee.pairs
        if type(name) is Global and callee.via == "newobj" and not filled and not name.is_standard:
            yield Global(name.module, f"{name.name}.__call__")
        else:
            yield f"the pickle calls what {name if type(name) is Global else 'a call'} returned"
    elif type(callee) in (InertDict, TensorRef):
        yield "the pickle calls an object that it has filled itself"  # anything else raises: it cannot be called


def _called(full: str, args: tuple[object, ...]) -> Iterator[Global | str]:
    """What a function of `CALLS` calls: its argument by name."""
    position = CALLS.get(full)
    if position is None or position >= len(args):
        return
    value = args[position]
    later = full == "collections.defaultdict"  # at the first key that is missing, which may be the trainer's
    for _ in range(_DEEPEST):
        if later and type(value) is Opaque and str(value.callee) == "functools.partial" and value.args:
            value = value.args[0] if type(value.args) is tuple else None
    function = name_of(value)
    if function is not None:
        if str(function) == _LOAD:
            yield f"the pickle has {function} called by another function"
        elif not later or function.is_standard:
            yield function
    elif value is not None and type(value) is not str and not later:
        yield "the pickle has a function called that no name in the file says"


def _describes_a_class(args: tuple[object, ...]) -> bool:
    """Whether these are `type`'s arguments, which every metaclass takes: a name, bases, and methods among the rest."""
    if len(args) != 3 or type(args[0]) is not str or type(args[1]) is not tuple or not isinstance(args[2], dict):
        return False
    return any(
        type(key) is str and key.startswith("__") and type(value) in (Global, Opaque) for key, value in args[2].items()
    )


def _examined(full: str, args: tuple[object, ...]) -> Iterable[object]:
    """The arguments whose methods a function may call: not the attributes that a rebuilding function sets."""
    if "_rebuild_from_type" in full or full.endswith("_with_state"):
        args = args[:3]
    inner = [part for arg in args if type(arg) is tuple for part in arg] if full.startswith("torch.") else []
    values = [part for arg in args if isinstance(arg, dict) for part in arg.values()] if full.endswith("_njt") else []
    return (*args, *inner, *values)


def _grows(full: str, keeps_them: bool, given: tuple[object, ...]) -> str:
    """What a function is handed out of which it makes far more than the file holds; empty where there is nothing."""
    plain = [value.value if type(value) is NumpyScalar else value for value in given]
    if full in ("builtins.bytes", "builtins.bytearray") and plain and _may_be_a_number(plain[0]):
        return "a size instead of bytes"
    if full.endswith(("Storage", "SeedSequence")) and any(type(value) is int and value > _MOST for value in plain[-1:]):
        return "a size instead of bytes"
    if full.endswith("multiarray._reconstruct") and _elements(plain[1:2]) > _MOST:
        return "a shape of its own, where numpy writes an empty one"
    if full == "fractions.Fraction" and any(type(value) is str and "e" in value.lower() for value in plain):
        return "an exponent"
    if full == "copyreg._reconstructor" and len(plain) == 3 and type(plain[2]) is int:
        return "a size instead of bytes" if str(name_of(plain[1])) == "builtins.bytes" else ""
    if full in LAZY or full in _NEW or (keeps_them and full != "collections.defaultdict"):
        return ""
    makers = {str(value.callee) for value in plain if type(value) is Opaque and value.via == "reduce"}
    if full in ("fractions.Fraction", "builtins.int") and "decimal.Decimal" in makers:
        return "an exponent"
    if makers & LAZY:
        return "an iterator"
    return "a range" if makers & _LONG and full in _COLLECTORS else ""


def _may_be_a_number(value: object) -> bool:
    """Whether `bytes` may take a value for a size: a number, or what another call than an encoding returns."""
    return type(value) is int or (type(value) is Opaque and not str(value.callee).endswith(("codecs.encode", "bytes")))


def _elements(shape: Sequence[object]) -> int:
    """How many numbers an array of this shape has."""
    sizes = shape[0] if shape and isinstance(shape[0], (tuple, list)) else ()
    return math.prod(min(size, 1 << 64) for size in sizes[: limits.MAX_DIMENSIONS] if type(size) is int)


_MOST = 1 << 20
"""Of a size that is handed to a constructor; 64-bit seeds come first, sizes last."""
_LONG = frozenset({"builtins.range", "ipaddress.IPv4Network", "ipaddress.IPv6Network"})
"""What has far more items than the few numbers of which it is made."""
_NEW = frozenset({"copyreg.__newobj__", "copyreg.__newobj_ex__"})
_COLLECTORS = frozenset(
    """
    array.array builtins.bytearray builtins.bytes builtins.frozenset builtins.list builtins.set builtins.tuple
    collections.ChainMap collections.Counter collections.UserList collections.deque copyreg._reconstructor
    os.stat_result time.struct_time torch.Size
    """.split()  # noqa: SIM905 (as in known_globals)
)
"""What makes an item of every number in a range; pickle writes the items themselves."""


def _new_with(full: str, args: tuple[object, ...]) -> tuple[object, ...]:
    """What `__new__` gets beside the class from one of `MAKERS`."""
    if full == "copyreg.__newobj__":
        return args[1:]
    inner = args[1] if full == "copyreg.__newobj_ex__" and len(args) > 1 else ()
    return inner if type(inner) is tuple else ()


def _is_made_up(value: object) -> bool:
    """Whether a value is an instance that the pickle made without its constructor, or has given attributes."""
    if type(value) is not Opaque or type(value.callee) is not Global or value.via in ("persid", "ext"):
        return False
    if value.via != "reduce" or str(value.callee) in MAKERS:
        return True
    return keeps(value.callee) and bool(value.states)
