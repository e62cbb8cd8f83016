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
from collections.abc import Iterator
from functools import cached_property
from typing import Literal

from ckpt_doctor.types import CPU_GENERATOR, KeyPath, Severity, mapping_of
from ckpt_doctor.types.record import record
from ckpt_doctor.validators.slot_kinds import (
    LARGEST_COUNT,
    ByteTensor,
    Choice,
    Eps,
    Flag,
    Kind,
    Must,
    Number,
    NumpyRandom,
    OneOrMore,
    PythonRandom,
    Tensor,
)

Condition = Literal[
    "", "ours", "foreign", "key", "part", "adam", "other", "moving", "OneCycleLR", "CosineAnnealingLR", "LambdaLR"
]
"""When a slot is read at all. `moving`: the scheduler is, or may be, stepped; a class's name implies it. `adam`: the
state is that of torch's Adam or AdamW; `other`: it is not. `ours`: the file is a recognised trainer's. `key`: the
part is a key of one file, which a trainer may leave empty; `part`: a file of its own, or one of a list."""


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

    @cached_property
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
STEPS = Number("a whole number, 0 or more", low=0, high=LARGEST_COUNT, whole=True, tensor="one element")
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

_CPU = ByteTensor("torch's random state, a uint8 tensor of 5,056 bytes", (CPU_GENERATOR,))
_CUDA = ByteTensor("a uint8 tensor of 16 bytes", (8, 16, 808, 816))

SLOTS: tuple[Slot, ...] = (
    Slot("epoch", COUNT, "the trainer's range(epoch, ...) needs one"),
    Slot("step", COUNT, "the trainer counts steps and names step folders by it"),
    Slot(
        "patience", Number("int", low=0, high=LARGEST_COUNT, whole=True, tensor=""), "EarlyStopping counts on from it"
    ),
    Slot("optimizer", Kind("a state_dict", (dict,), none=True), _TAKE, "key"),
    Slot("optimizer", Kind("a state_dict", (dict,)), _TAKE, "part"),
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
    Slot("scheduler", Kind("a state_dict", (dict,), none=True), _TAKE, "key"),
    Slot("scheduler", Kind("a state_dict", (dict,)), _TAKE, "part"),
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
    Slot("scheduler.base_lrs", LIST, _SCHEDULE, "LambdaLR"),
    Slot("scheduler.base_lrs[*]", RATE, _SCHEDULE, "LambdaLR"),
    Slot("scheduler.lr_lambdas", LIST, _TAKE, "LambdaLR"),
    Slot("scheduler.lr_lambdas[*]", Kind("a dict or None", (dict,), none=True), _TAKE, "LambdaLR"),
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
    Slot("rng", Kind("a dict", (dict,), none=True), _RESTORE, "key"),
    Slot("rng", DICT, _RESTORE, "part"),
    Slot("rng.python", PythonRandom(), _RESTORE),
    Slot("rng.numpy", NumpyRandom(), _RESTORE),
    Slot("rng.torch", _CPU, _RESTORE),
    Slot("rng.cpu", _CPU, _RESTORE),
    Slot("rng.cuda", OneOrMore(_CUDA, Kind("a list of uint8 tensors, or None", (list, tuple), none=True)), _RESTORE),
    # Seed and offset, or (until 1.10) 800 unused bytes before them; set_state takes both without the offset as well
    # (aten/src/ATen/cuda/CUDAGeneratorImpl.cpp)
    Slot("rng.cuda[*]", _CUDA, _RESTORE),
)


Held = list[tuple[KeyPath, object]]
"""Places and what is there."""
Known = dict[tuple[str, ...], Held]
"""The same by the names of slots in parts."""


def looked_up(parts: tuple[str, ...], known: Known) -> Held:
    """Where a slot is, below what is `known` already; what leads there is looked up once."""
    if parts not in known:
        known[parts] = below(looked_up(parts[:-1], known), parts[-1])
    return known[parts]


def places(root: object, parts: tuple[str, ...], path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Where a slot is in a file, or below a part of one, and what is there; nothing where it is absent."""
    return iter(looked_up(parts, {(): [(path, root)]}))


def below(found: Held, key: str) -> Held:
    """What is one step further down than places: at a key of a dict, or with `*` at all of its keys or indices."""
    deeper: Held = []
    for path, value in found:
        held = mapping_of(value)
        if key == "*":
            sequence = value if isinstance(value, (list, tuple)) else ()
            items = enumerate(sequence) if held is None else held.items()
            deeper += [((*path, each), item) for each, item in items]
        elif held is not None and key in held:
            deeper.append(((*path, key), held[key]))
    return deeper
