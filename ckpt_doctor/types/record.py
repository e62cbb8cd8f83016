"""`record`: the standard `dataclass`, made in a twentieth of the time, for every command imports most of these types.

`dataclasses.dataclass` looks at every field and compiles up to seven methods for each class. Here that waits until
something asks for the fields. Comparison, hash and text are functions that all classes share; `__init__` is compiled
for a class once it has a few objects. That nothing sets a field of a frozen class is left to the type checker, which
sees the standard decorator. A class that inherits from a record is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import MISSING, Field, dataclass
    from functools import cache, partial
    from inspect import get_annotations
    from operator import attrgetter

    FEW = 8
    """Objects that are made field by field, since compiling takes as long as making twenty of them."""
    BARE = {"init": False, "eq": False, "repr": False}

    def record(cls=None, *, frozen=False, eq=True, slots=False):
        """As `dataclasses.dataclass` with these arguments; `frozen` makes hashable and protects nothing at run time.

        `slots` is for what a file can have many of: such a class is made at once."""
        if cls is None:
            return partial(record, frozen=frozen, eq=eq, slots=slots)
        if not cls.__doc__:
            cls.__doc__ = cls.__name__  # dataclass would make one of the signature, at two milliseconds
        if slots:
            _defaults(cls)
            made = dataclass(cls, slots=True, **BARE)
        else:
            made = cls
            made.__dataclass_fields__ = _Fields(made)
        made.__init__ = _first_init(made)
        if "__repr__" not in vars(cls):
            made.__repr__ = _repr
        if eq:
            made.__eq__ = _eq
            made.__hash__ = _hash if frozen else None
        return made

    class _Fields:
        """Stands in a class for its fields until they are asked for."""

        def __init__(self, made):
            self.made = made

        def __get__(self, _, cls):
            _defaults(self.made)  # before dataclass puts its own in their place
            dataclass(self.made, **BARE)
            return cls.__dataclass_fields__

    def _defaults(made):
        """Field -> its default and what makes one, MISSING where it has none; found once."""
        found = vars(made).get("_defaults")
        if found is not None:
            return found
        found = {}
        for base in made.__mro__[-1:0:-1]:
            if "__dataclass_fields__" in vars(base):
                found |= _defaults(base)
        for name, kind in get_annotations(made).items():
            if not kind.startswith("ClassVar"):
                value = vars(made).get(name, MISSING)
                is_field = isinstance(value, Field)
                found[name] = (value.default, value.default_factory) if is_field else (value, MISSING)
        made._defaults = found
        return found

    @cache
    def _compared(made):
        """What gives the fields of an object that are compared."""
        names = [field.name for field in fields(made) if field.compare]
        return attrgetter(*names) if names else (lambda _: ())

    def _first_init(made):
        left = FEW

        def __init__(self, *values, **named):
            nonlocal left
            left -= 1
            known = _defaults(made)
            given = {**dict(zip(known, values, strict=False)), **named}
            whole = {name: given[name] if name in given else _new(*default) for name, default in known.items()}
            is_whole = given.keys() <= whole.keys() and not any(value is MISSING for value in whole.values())
            if left < 0 or not is_whole or len(given) < len(values) + len(named):
                made.__init__ = _compiled_init(made)  # which says as well what does not fit
                made.__init__(self, *values, **named)
                return
            for name, value in whole.items():
                setattr(self, name, value)

        return __init__

    def _new(default, factory):
        return default if factory is MISSING else factory()

    def _compiled_init(made):
        parameters, lines, known = ["self"], ["pass"], {"_missing": MISSING}
        for name, (default, factory) in _defaults(made).items():
            parameter = value = name
            if factory is not MISSING:
                known[f"_new_{name}"] = factory
                new = {list: "[]", dict: "{}"}.get(factory, f"_new_{name}()")
                parameter, value = f"{name}=_missing", f"{new} if {name} is _missing else {name}"
            elif default is not MISSING:
                known[f"_default_{name}"] = default
                parameter = f"{name}=_default_{name}"
            parameters.append(parameter)
            lines.append(f"self.{name} = {value}")
        exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines), known)  # noqa: S102
        return known["__init__"]

    def _repr(self):
        shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
        return f"{type(self).__qualname__}({shown})"

    def _eq(self, other):
        compared = _compared(type(self))
        return compared(self) == compared(other) if type(other) is type(self) else NotImplemented

    def _hash(self):
        return hash(_compared(type(self))(self))


H = TypeVar("H")
T = TypeVar("T")


def kept(make: Callable[[H], T]) -> Callable[[H], T]:
    """A function of one object, whose result is made at the first call and kept with that object."""
    name = f"{make.__module__}.{make.__qualname__}"

    @wraps(make)
    def held(holder: H) -> T:
        memo = holder.__dict__
        if name in memo:
            return memo[name]  # type: ignore[no-any-return]
        made = memo[name] = make(holder)
        return made

    return held


def once(holder: object, name: str, make: Callable[[], T]) -> T:
    """What `make` gives, made at the first call and kept with an object under a name that is none of its fields."""
    memo = vars(holder)
    if name in memo:
        return memo[name]  # type: ignore[no-any-return]
    kept = memo[name] = make()
    return kept


class Shown:
    """What people look at: printed it is a table, in a notebook a page, both of which `display` makes."""

    display: Callable[[Any, str], str] | None

    def __str__(self) -> str:
        return self.display(self, "table") if self.display else repr(self)

    def _repr_html_(self) -> str | None:
        """What a notebook shows (IPython's display protocol); None: its text."""
        return self.display(self, "html") if self.display else None


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
__all__ = ["Shown", "briefly", "once", "record"]
