"""`record`: the standard `dataclass`, made in a tenth of the time, for every command makes all of these types.

`dataclasses.dataclass` compiles up to seven methods for each class. Here comparison, hash and text are functions that
all classes share, and `__init__` is compiled for the first object of a class: a command makes objects of few. That
nothing sets a field of a frozen class is left to the type checker, which sees the standard decorator.
A class that inherits from a record is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import MISSING, dataclass
    from functools import partial
    from operator import attrgetter

    def record(cls=None, *, frozen=False, eq=True, slots=False):
        """As `dataclasses.dataclass` with these arguments; `frozen` makes hashable and protects nothing at run time."""
        if cls is None:
            return partial(record, frozen=frozen, eq=eq, slots=slots)
        cls.__doc__ = cls.__doc__ or cls.__name__  # dataclass would make one of the signature, at two milliseconds
        made = dataclass(cls, init=False, eq=False, repr=False, slots=slots)
        made.__init__ = _first_init(made)
        if "__repr__" not in vars(cls):
            made.__repr__ = _repr
        if eq:
            names = [field.name for field in fields(made) if field.compare]
            made.compared = attrgetter(*names) if names else lambda _: ()
            made.__eq__ = _eq
            made.__hash__ = _hash if frozen else None
        return made

    def _first_init(made):
        def __init__(self, *values, **named):
            if made.__init__ is __init__:
                made.__init__ = _compiled_init(made)
            made.__init__(self, *values, **named)

        return __init__

    def _compiled_init(made):
        parameters, lines, known = ["self"], ["pass"], {"_missing": MISSING}
        for name, field in ((field.name, field) for field in fields(made)):
            parameter = value = name
            if field.default_factory is not MISSING:
                known[f"_new_{name}"] = field.default_factory
                parameter, value = f"{name}=_missing", f"_new_{name}() if {name} is _missing else {name}"
            elif field.default is not MISSING:
                known[f"_default_{name}"] = field.default
                parameter = f"{name}=_default_{name}"
            parameters.append(parameter)
            lines.append(f"self.{name} = {value}")
        exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines), known)  # noqa: S102
        return known["__init__"]

    def _repr(self):
        shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
        return f"{type(self).__qualname__}({shown})"

    def _eq(self, other):
        compared = type(self).compared
        return compared(self) == compared(other) if type(other) is type(self) else NotImplemented

    def _hash(self):
        return hash(type(self).compared(self))


T = TypeVar("T")


def once(holder: object, name: str, make: Callable[[], T]) -> T:
    """What `make` gives, made at the first call and kept with an object under a name that is none of its fields."""
    memo = vars(holder)
    if name not in memo:
        memo[name] = make()
    kept: T = memo[name]
    return kept


def briefly(self: Any) -> str:
    """The `__repr__` of results, which hold whole trees: one short line, in which a container is its size."""
    told = ((field.name, getattr(self, field.name)) for field in fields(self) if field.repr)
    shown = ", ".join(f"{name}={_brief(value)}" for name, value in told if not _is_empty(value))
    return f"{type(self).__qualname__}({shown})"


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, (str, tuple, list, dict)) and not value)


def _brief(value: object) -> str:
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return f"<{len(value)}>"
    if hasattr(value, "__dataclass_fields__") or callable(value):
        return f"<{type(value).__qualname__}>"
    if isinstance(value, int) and abs(value) > _LARGE:
        return "<int>"
    shown = repr(value[:_LONGEST] if isinstance(value, (str, bytes, bytearray)) else value)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."


_LONGEST = 100
_LARGE = 10**30
__all__ = ["briefly", "once", "record"]
