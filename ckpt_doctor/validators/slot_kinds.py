"""The kinds of values that a slot can ask for: each says what it is in words, and what is wrong with a value."""

from __future__ import annotations

import struct
import sys
from typing import Literal, Protocol

from ckpt_doctor.inert.numpy_values import array_shown, uint32_array
from ckpt_doctor.types import CPU_GENERATOR, NumpyScalar, Opaque, TensorRef, mapping_of, python_value, real
from ckpt_doctor.types.record import record

LARGEST_COUNT = 1 << 62
"""No counter gets there: `range()` and the names of folders end before."""

Fault = Literal["type", "value", "unread"]
"""`unread`: an object that was not made, or a tensor whose bytes cannot be had: nobody can say whether it is right."""


class Must(Protocol):
    """What a value must be."""

    @property
    def says(self) -> str:
        """In words: `a number, 0 or more`."""

    def fault(self, value: object) -> Fault | None:
        """What is wrong with a value; None where nothing is."""


def _unmade(value: object) -> Fault:
    """Of an object that was not made: whether it is known all the same to be none of what slots hold."""
    if not isinstance(value, Opaque):
        return "type"
    shown = array_shown(value)  # one without a shape counts as the number in it
    return "type" if str(value.callee).startswith("builtins.") or (shown and not shown.endswith("[]")) else "unread"


@record(frozen=True)
class Number:
    """A number in a range: Python's, numpy's, or that of a 0-d tensor. Neither NaN nor, by default, infinite."""

    says: str
    low: float = -sys.float_info.max
    high: float = sys.float_info.max
    below: float | None = None
    """The first that is too large, where the range does not end with `high`."""
    whole: bool = False
    """A float must stand for an integer."""
    integer: bool = False
    """No float at all, whatever it stands for."""
    tensor: Literal["", "0-d", "one element"] = "0-d"
    """Which tensors count as the number in them."""
    flag: bool = False
    """Whether False counts as 0."""
    none: bool = False

    def fault(self, value: object) -> Fault | None:
        """Types first, then the range."""
        if type(value) is float and not self.integer and self.low <= value <= self.high:  # as nearly all are
            in_range = self.below is None or value < self.below
            return None if in_range and (not self.whole or value.is_integer()) else "value"
        if isinstance(value, TensorRef):
            if not self.tensor or value.dtype.startswith("complex"):
                return "type"
            if value.numel != 1 or (value.shape and self.tensor == "0-d"):
                return "value"
            if value.value is None:
                return "unread"
            value = value.value
        if isinstance(value, NumpyScalar):
            if self.whole and value.dtype in _NARROW:
                return "value"
            value = value.value
        if value is None:
            return None if self.none else "type"
        if value is False and self.flag:
            value = 0
        if isinstance(value, Opaque):
            return _unmade(value)
        if isinstance(value, bool) or not isinstance(value, int if self.integer else (int, float)):
            return "type"
        if self.integer and abs(value) >= LARGEST_COUNT:
            return "type"
        number = real(value)
        if number is None or not self.low <= number <= self.high or (self.below is not None and number >= self.below):
            return "value"
        return "value" if self.whole and not number.is_integer() else None


_NARROW = ("int8", "uint8", "int16", "uint16", "float16", "float32")
"""Numpy types in which a count overflows or is no longer exact."""


@record(frozen=True)
class Kind:
    """An object of one of these types; of a list, with so many items."""

    says: str
    types: tuple[type, ...]
    none: bool = False
    lengths: tuple[int, ...] = ()

    def fault(self, value: object) -> Fault | None:
        """An object that is filled like a dict counts as one."""
        if value is None:
            return None if self.none else "type"
        value = python_value(value)
        if isinstance(value, Opaque):
            return None if dict in self.types and mapping_of(value) is not None else _unmade(value)
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            return "type"
        return "value" if self.lengths and isinstance(value, (list, tuple)) and len(value) not in self.lengths else None


@record(frozen=True)
class Flag:
    """What is asked `if flag:`; nothing but a bool, or a number in its place, says what was meant by it."""

    says: str = "True, False or None"

    def fault(self, value: object) -> Fault | None:
        """Empty things are as good as False."""
        if isinstance(value, TensorRef):
            return None if value.numel == 1 else "type"
        value = python_value(value)
        if isinstance(value, Opaque):
            return _unmade(value)
        return "type" if value and not isinstance(value, (bool, int)) else None


@record(frozen=True)
class Choice:
    """One of these values."""

    says: str
    values: tuple[object, ...]

    def fault(self, value: object) -> Fault | None:
        """True is 1 here, as it is to the code that asks."""
        value = python_value(value)
        if isinstance(value, (dict, list, tuple, Opaque, TensorRef)):
            return "type"
        return None if value in self.values else "value"


@record(frozen=True)
class Tensor:
    """A tensor that is computed with: of floating point (or complex, as its parameter may be)."""

    says: str
    none: bool = False

    def fault(self, value: object) -> Fault | None:
        """Integers would come back without their fractions (load_state_dict casts them)."""
        if value is None:
            return None if self.none else "type"
        if not isinstance(value, TensorRef):
            return _unmade(value)
        return None if value.dtype.startswith(("float", "bfloat", "complex")) else "value"


@record(frozen=True)
class ByteTensor:
    """The state of one of torch's generators."""

    says: str
    sizes: tuple[int, ...]

    def fault(self, value: object) -> Fault | None:
        """Of a size that a version of torch has written; the CPU's begins with what `set_rng_state` asks for."""
        if not isinstance(value, TensorRef):
            return _unmade(value)
        if value.dtype != "uint8":
            return "type"
        if value.numel not in self.sizes:
            return "value"
        if value.numel != CPU_GENERATOR:
            return None
        if not isinstance(value.value, bytes):
            return "unread"
        return None if any(_is_mt19937(order, value.value) for order in "<>") else "value"


def _is_mt19937(order: str, state: bytes) -> bool:
    """After the seed: what is left of 624 words, whether it was seeded, the next word.

    aten/src/ATen/CPUGeneratorImpl.cpp, `set_state`; core/MT19937RNGEngine.h, `is_valid`."""
    left, seeded, following = struct.unpack_from(order + "iiQ", state, 8)
    return bool(0 < left <= 624 and seeded and following % 2**32 <= 624)


@record(frozen=True)
class OneOrMore:
    """A value, or a list of such values."""

    one: Must
    many: Must

    @property
    def says(self) -> str:
        """The list in words."""
        return self.many.says

    def fault(self, value: object) -> Fault | None:
        """A tensor is the one; what is in a list has a slot of its own."""
        return (self.one if isinstance(value, TensorRef) else self.many).fault(value)


@record(frozen=True)
class PythonRandom:
    """What `random.setstate` takes."""

    says: str = "a state of Python's random: (3, a tuple of 625 integers, a number or None)"

    def fault(self, value: object) -> Fault | None:
        """Version 2 is read as well; the last integer is the place among the other 624."""
        if not isinstance(value, (tuple, list)):
            return _unmade(value)
        if len(value) != 3 or value[0] not in (2, 3) or not isinstance(value[1], tuple) or len(value[1]) != 625:
            return "value"
        words = value[1]
        if any(type(word) is not int for word in words):
            return "type"
        return None if min(words) >= 0 and words[-1] <= 624 else "value"


_PLACE = Number("a position", low=0, high=624, flag=True)


@record(frozen=True)
class NumpyRandom:
    """What `numpy.random.set_state` takes."""

    says: str = "a state of numpy's random: ('MT19937', 624 integers, position, has_gauss, gauss)"

    def fault(self, value: object) -> Fault | None:
        """A tuple, or the dict of `get_state(legacy=False)`."""
        if isinstance(value, dict):
            inner = value.get("state")
            if not isinstance(inner, dict) or not {"key", "pos"} <= inner.keys():
                return "value"
            rest = [value[name] for name in ("has_gauss", "gauss") if name in value]
            value = (value.get("bit_generator"), inner["key"], inner["pos"], *rest)
        if not isinstance(value, (tuple, list)):
            return _unmade(value)
        if len(value) < 3 or value[0] != "MT19937":
            return "value"
        is_made = not isinstance(value[1], Opaque)
        keys = value[1] if is_made else uint32_array(value[1])
        if keys is None and not is_made:
            return "unread"
        if not isinstance(keys, (list, tuple)) or not all(type(key) in (int, float) for key in keys):
            return "type"
        if len(keys) != 624 or min(keys) < 0:
            return "value"
        # numpy asks nothing of the position, and reads what lies beyond its 624 words
        faults = (_PLACE.fault(value[2]), *map(Number("", flag=True, high=float("inf")).fault, value[3:]))
        return next(filter(None, faults), None)


@record(frozen=True)
class Eps:
    """What is added to a denominator: one number; Adafactor has two, of which None is one."""

    says: str = "a number, 0 or more"

    def fault(self, value: object) -> Fault | None:
        """Negative, it meets the denominator from the other side, and the division blows up."""
        parts = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value,)
        must = Number(self.says, low=0, flag=True, none=len(parts) == 2)
        return next(filter(None, map(must.fault, parts)), None)
