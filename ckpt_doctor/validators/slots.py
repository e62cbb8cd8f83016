"""What every slot of a training checkpoint must hold: one table, from which L303 and O707 speak.

    Slot("optimizer.param_groups[*].lr", RATE, "optimizer.step() raises or makes every weight NaN")

A name is written as people write it, `[*]` stands for every index or key; its first part is the slot of a trainer
(`types.Places`), wherever that trainer keeps it. Sources are torch 2.13's: torch/optim/adam.py and its
neighbours (ranges are those that the constructors demand, which `load_state_dict` does not ask for again),
torch/optim/lr_scheduler.py, torch/amp/grad_scaler.py; for the random generators CPython's `random.setstate`, numpy's
`set_state` and `torch.set_rng_state`.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

from ckpt_doctor.inert.numpy_values import array_shown, uint32_array
from ckpt_doctor.types import CPU_GENERATOR, KeyPath, NumpyScalar, Opaque, Severity, TensorRef, mapping_of, real
from ckpt_doctor.types.record import record

LARGEST_COUNT = 1 << 62
"""No counter gets there: `range()` and the names of folders end before."""

Fault = Literal["type", "value", "unread"]
"""`unread`: an object that was not made, or a tensor whose bytes cannot be had: nobody can say whether it is right."""

Condition = Literal["", "ours", "foreign", "adam", "other", "moving", "OneCycleLR", "CosineAnnealingLR"]
"""When a slot is read at all. `moving`: the scheduler is, or may be, stepped; a class's name implies it. `adam`: the
state is that of torch's Adam or AdamW; `other`: it is not. `ours`: the file is a recognised trainer's."""


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
    below: float = float("inf")
    """The first that is too large."""
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
        if number is None or not (self.low <= number <= self.high and number < self.below):
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
        if isinstance(value, NumpyScalar):
            value = value.value
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
        if isinstance(value, NumpyScalar):
            value = value.value
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
        value = value.value if isinstance(value, NumpyScalar) else value
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
        keys = uint32_array(value[1]) if isinstance(value[1], Opaque) else value[1]
        if keys is None:
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


@record(frozen=True)
class Slot:
    """A place in a training checkpoint that its trainer computes with."""

    name: str
    must: Must
    otherwise: str
    """What the trainer does with anything else, as the end of a sentence."""
    when: Condition = ""
    severity: Severity | None = None
    """Overrides the rules' severity."""

    @property
    def parts(self) -> tuple[str, ...]:
        """`optimizer.state[*].step` -> `("optimizer", "state", "*", "step")`."""
        return tuple(re.findall(r"[^.\[\]]+", self.name))


DICT = Kind("a dict", (dict,))
LIST = Kind("a list", (list, tuple))
TEXT = Kind("the name of a key in the param groups", (str,))
FINITE = Number("a finite number", flag=True)
RATE = Number("a finite number or 0-d tensor, 0 or more", low=0)
DECAY = Number("a finite number, 0 or more", low=0, flag=True)
SHARE = Number("a number from 0 up to, but not, 1", low=0, below=1, flag=True)
POSITION = Number("a whole number", low=-1, high=LARGEST_COUNT, whole=True, tensor="")
COUNT = Number("int", low=0, integer=True, tensor="")
STEPS = Number("a whole number, 0 or more", low=0, whole=True, tensor="one element")
MOMENT = Tensor("a tensor of floating point")

_TAKE = "load_state_dict cannot take it"
_COUNT = "scheduler.step() cannot count with it, or stands still"
_WEIGHTS = "optimizer.step() raises, or spoils the weights"
_AVERAGE = "the optimizer's averages raise, or become NaN"
_SCHEDULE = "scheduler.step() raises, or makes rates that no run has"
_SHADOW = "load_state_dict puts it in the place of the scheduler's own, which then moves nothing"
_RESTORE = "the trainer cannot restore it"
_SCALE = "the gradients are scaled to zero, infinity or NaN, or the scaler raises"
_REPLACED = "without effect: the next step puts another in its place"

COUNTERS = ("epoch", "step", "patience")
"""Slots that a migration may set right."""
MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "square_avg", "acc_delta", "grad_avg")
"""Optimizer state that has its parameter's shape in every optimizer that uses the name."""

_CUDA = ByteTensor("a uint8 tensor of 16 bytes", (8, 16, 808, 816))

SLOTS: tuple[Slot, ...] = (
    Slot("epoch", COUNT, "the trainer's range(epoch, ...) needs one"),
    Slot("step", COUNT, "the trainer counts steps and names step folders by it"),
    Slot(
        "patience", Number("int", low=0, high=LARGEST_COUNT, whole=True, tensor=""), "EarlyStopping counts on from it"
    ),
    Slot("optimizer", Kind("a state_dict", (dict,), none=True), _TAKE),
    Slot("optimizer.param_groups", LIST, _TAKE),
    Slot("optimizer.param_groups[*]", DICT, _TAKE),
    Slot("optimizer.param_groups[*].params", LIST, _TAKE),
    Slot("optimizer.param_groups[*].params[*]", Kind("an index or a name", (int, str, float, bool)), _TAKE),
    Slot("optimizer.param_groups[*].lr", RATE, _WEIGHTS, "ours"),
    Slot("optimizer.param_groups[*].lr", Number(RATE.says, low=0, none=True), _WEIGHTS, "foreign"),
    Slot("optimizer.param_groups[*].betas", Kind("a pair of numbers", (list, tuple), lengths=(2,)), _AVERAGE, "adam"),
    Slot(
        "optimizer.param_groups[*].betas",
        Kind("a pair of numbers", (list, tuple), lengths=(1, 2, 3, 4)),
        _AVERAGE,
        "other",
    ),
    Slot("optimizer.param_groups[*].betas[*]", SHARE, _AVERAGE),
    Slot("optimizer.param_groups[*].eps", DECAY, _WEIGHTS, "adam"),
    Slot("optimizer.param_groups[*].eps", Eps(), _WEIGHTS, "other"),
    Slot("optimizer.param_groups[*].weight_decay", DECAY, _WEIGHTS),
    *(
        Slot(f"optimizer.param_groups[*].{name}", FINITE, _WEIGHTS)
        for name in ("momentum", "dampening", "alpha", "rho", "lambd", "lr_decay", "momentum_decay")
    ),
    *(
        Slot(f"optimizer.param_groups[*].{name}", Flag(), "it counts as True, whatever was meant")
        for name in ("amsgrad", "maximize", "capturable", "differentiable", "fused", "nesterov")
    ),
    Slot("optimizer.state", DICT, _TAKE),
    Slot("optimizer.state[*]", DICT, _TAKE),
    Slot("optimizer.state[*].step", STEPS, _AVERAGE),
    *(Slot(f"optimizer.state[*].{name}", MOMENT, _AVERAGE) for name in MOMENTS),
    Slot("optimizer.state[*].momentum_buffer", Tensor(MOMENT.says, none=True), _AVERAGE),
    Slot("scheduler", Kind("a state_dict", (dict,), none=True), _TAKE),
    Slot("scheduler.last_epoch", POSITION, _COUNT, "moving"),
    Slot("scheduler._step_count", Number(POSITION.says, low=0, high=LARGEST_COUNT, whole=True), _COUNT, "moving"),
    Slot("scheduler._last_lr", LIST, _REPLACED, severity="info"),
    Slot("scheduler._last_lr[*]", RATE, _REPLACED, severity="info"),
    Slot(
        "scheduler.total_steps",
        Number("a whole number, 1 or more", low=1, high=LARGEST_COUNT, whole=True),
        _COUNT,
        "OneCycleLR",
    ),
    Slot(
        "scheduler._schedule_phases",
        Kind("a list of 2 or 3 phases", (list, tuple), lengths=(2, 3)),
        _SCHEDULE,
        "OneCycleLR",
    ),
    Slot("scheduler._schedule_phases[*]", DICT, _SCHEDULE, "OneCycleLR"),
    Slot("scheduler._schedule_phases[*].end_step", FINITE, _SCHEDULE, "OneCycleLR"),
    *(
        Slot(f"scheduler._schedule_phases[*].{name}", TEXT, _SCHEDULE, "OneCycleLR")
        for name in ("start_lr", "end_lr", "start_momentum", "end_momentum")
    ),
    Slot("scheduler._anneal_func_type", Choice("'cos' or 'linear'", ("cos", "linear")), _SCHEDULE, "OneCycleLR"),
    Slot("scheduler.cycle_momentum", Flag(), _SCHEDULE, "OneCycleLR"),
    Slot("scheduler.use_beta1", Flag(), _SCHEDULE, "OneCycleLR"),
    Slot("scheduler.total_steps", Choice("absent", ()), "Accelerate stops the schedule there", "CosineAnnealingLR"),
    Slot("scheduler.T_max", Number("a finite number above 0", low=5e-324), _SCHEDULE, "CosineAnnealingLR"),
    Slot("scheduler.eta_min", FINITE, _SCHEDULE, "CosineAnnealingLR"),
    Slot("scheduler.base_lrs", LIST, _SCHEDULE, "CosineAnnealingLR"),
    Slot("scheduler.base_lrs[*]", RATE, _SCHEDULE, "CosineAnnealingLR"),
    Slot("scheduler._is_initial", Choice("False", (False, None)), "the rate stays where it is", "CosineAnnealingLR"),
    *(
        Slot(f"scheduler.{name}", Choice("absent", ()), _SHADOW, when)
        for when in ("OneCycleLR", "CosineAnnealingLR")
        for name in ("optimizer", "step", "get_lr", "_update_lr")
    ),
    Slot("scaler", Kind("a dict", (dict,), none=True), _RESTORE),
    Slot("scaler.scale", Number("a finite number above 0", low=5e-324), _SCALE),
    Slot("scaler.growth_factor", Number("a finite number, 1 or more", low=1), _SCALE),
    Slot("scaler.backoff_factor", Number("a number above 0, at most 1", low=5e-324, high=1), _SCALE),
    Slot("scaler.growth_interval", Number("an integer, 1 or more", low=1, integer=True), _SCALE),
    Slot("scaler._growth_tracker", Number("a whole number, 0 or more", low=0, high=2**31 - 1, whole=True), _SCALE),
    Slot("rng", Kind("a dict", (dict,), none=True), _RESTORE),
    Slot("rng.python", PythonRandom(), _RESTORE),
    Slot("rng.numpy", NumpyRandom(), _RESTORE),
    Slot(
        "rng.torch",
        ByteTensor("torch's random state, a uint8 tensor of 5,056 bytes", (CPU_GENERATOR,)),
        _RESTORE,
    ),
    Slot(
        "rng.cpu",
        ByteTensor("torch's random state, a uint8 tensor of 5,056 bytes", (CPU_GENERATOR,)),
        _RESTORE,
    ),
    Slot(
        "rng.cuda",
        OneOrMore(_CUDA, Kind("a list of uint8 tensors, or None", (list, tuple), none=True)),
        _RESTORE,
    ),
    # Seed and offset, or (until 1.10) 800 unused bytes before them; set_state takes both without the offset as well
    # (aten/src/ATen/cuda/CUDAGeneratorImpl.cpp)
    Slot("rng.cuda[*]", _CUDA, _RESTORE),
)


def places(root: object, parts: tuple[str, ...], path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Where a slot is in a file, or below a part of one, and what is there; nothing where it is absent."""
    found: list[tuple[KeyPath, object]] = [(path, root)]
    for key in parts:  # level by level: an optimizer has a state for each of many parameters
        found = [deeper for place in found for deeper in _below(*place, key)]
    return iter(found)


def _below(path: KeyPath, value: object, key: str) -> Iterable[tuple[KeyPath, object]]:
    mapping = mapping_of(value)
    if key != "*":
        return [((*path, key), mapping[key])] if mapping is not None and key in mapping else ()
    sequence = value if isinstance(value, (list, tuple)) else ()
    items = mapping.items() if mapping is not None else enumerate(sequence)
    return [((*path, each), item) for each, item in items]
