"""`record`: the standard `dataclass`, made in less than half the time, for every command makes all of these types.

`dataclasses.dataclass` compiles up to seven methods for each class. Here it compiles `__init__` alone; comparison, hash
and text are functions that all classes share. That nothing sets a field of a frozen class is left to the type checker,
which sees the standard decorator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass, fields
    from functools import partial
    from operator import attrgetter

    def record(cls=None, *, frozen=False, eq=True, slots=False):
        """As `dataclasses.dataclass` with these arguments; `frozen` makes hashable and protects nothing at run time."""
        if cls is None:
            return partial(record, frozen=frozen, eq=eq, slots=slots)
        made = dataclass(cls, eq=False, repr=False, slots=slots)
        made.__dataclass_params__.frozen = frozen  # for dataclasses that inherit from it
        if "__repr__" not in vars(cls):
            made.__repr__ = _repr
        if eq:
            names = [field.name for field in fields(made) if field.compare]
            made.compared = attrgetter(*names) if names else lambda _: ()
            made.__eq__ = _eq
            made.__hash__ = _hash if frozen else None
        return made

    def _repr(self):
        shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
        return f"{type(self).__qualname__}({shown})"

    def _eq(self, other):
        compared = type(self).compared
        return compared(self) == compared(other) if type(other) is type(self) else NotImplemented

    def _hash(self):
        return hash(type(self).compared(self))


__all__ = ["record"]
