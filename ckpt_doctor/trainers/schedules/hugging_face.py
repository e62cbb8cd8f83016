"""The factors of transformers' schedules: LambdaLRs, whose state_dict does not have the formula.

Source: `src/transformers/optimization.py` of transformers 4.57 and 5.24, whose order of operations this follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ckpt_doctor.trainers.schedules.values import as_number, number, power
from ckpt_doctor.types.record import record


@record(frozen=True)
class _Place:
    """How far training is, and what the command says of the schedule."""

    step: int
    warmup: int
    total: int
    rate: float | None
    kwargs: Mapping[Any, Any]

    @property
    def share(self) -> float:
        """How much of the part after the warm-up is done: 0 to 1."""
        return float(self.step - self.warmup) / float(max(1, self.total - self.warmup))

    def option(self, key: str, default: float) -> float:
        return default if self.kwargs.get(key) is None else number(self.kwargs, key)

    def least(self) -> float:
        """`min_lr_rate`, or `min_lr` as a share of the command's rate."""
        if self.kwargs.get("min_lr") is None:
            return number(self.kwargs, "min_lr_rate")
        if self.kwargs.get("min_lr_rate") is not None:
            raise ValueError("transformers takes min_lr or min_lr_rate, not both")
        return number(self.kwargs, "min_lr") / self.peak()

    def peak(self) -> float:
        if self.rate is None:
            raise ValueError("the command's learning rate is not known")
        return self.rate


def hf_lambda(
    name: str,
    *,
    step: int,
    warmup: int,
    total: int,
    rate: float | None = None,
    kwargs: Mapping[Any, Any] | None = None,
) -> float | None:
    """Factor by which transformers' schedule `name` multiplies each base rate at `step`.

    Args:
        name: `lr_scheduler_type` of the command: "linear", "cosine", ...
        step: `last_epoch` of the scheduler.
        warmup: steps of the warm-up.
        total: steps of the whole training.
        rate: `learning_rate` of the command; polynomial and `min_lr` need it.
        kwargs: `lr_scheduler_kwargs` of the command.

    Returns:
        The factor. None for a schedule that is not known, for an argument that it does not have, and where releases of
        transformers differ.

    Raises:
        ValueError: a value is not usable, or transformers would raise as well.

    Example:
        >>> hf_lambda("linear", step=75, warmup=10, total=100)
        0.2777777777777778
    """
    formula, known = _FORMULAS.get(name, (None, ""))
    kwargs = {} if kwargs is None else kwargs
    if formula is None or not isinstance(kwargs, Mapping) or not set(known.split()).issuperset(kwargs):
        return None
    for key, value in {"step": step, "warmup": warmup, "total": total, "rate": 1 if rate is None else rate}.items():
        as_number(value, key)
    place = _Place(step, warmup, total, rate, kwargs)
    try:
        factor = formula(place)
    except ArithmeticError as error:
        raise ValueError(f"the schedule cannot be computed ({error})") from None
    return None if factor is None else as_number(factor, "the factor")


def _after_warmup(later: Callable[[_Place], float]) -> Callable[[_Place], float | None]:
    """A formula that begins with the linear warm-up."""

    def formula(place: _Place) -> float:
        if place.step < place.warmup:
            return float(place.step) / float(max(1, place.warmup))
        return later(place)

    return formula


def _linear(place: _Place) -> float:
    return max(0.0, float(place.total - place.step) / float(max(1, place.total - place.warmup)))


def _cosine(place: _Place) -> float:
    return max(0.0, _wave(float(place.option("num_cycles", 0.5)), place.share))


def _cosine_with_restarts(place: _Place) -> float:
    if place.share >= 1.0:
        return 0.0
    cycles = float(place.option("num_cycles", 1))
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((cycles * place.share) % 1.0))))


def _polynomial(place: _Place) -> float:
    first, last = place.peak(), place.option("lr_end", 1e-7)
    if not first > last:
        raise ValueError("transformers needs an lr_end below the command's learning rate")
    if place.step > place.total:
        return last / first
    remaining = 1 - (place.step - place.warmup) / (place.total - place.warmup)
    decayed: float = (first - last) * power(remaining, place.option("power", 1.0)) + last
    return decayed / first


def _inverse_sqrt(place: _Place) -> float:
    scale = place.option("timescale", place.warmup or 10_000)
    return 1.0 / math.sqrt((place.step + (scale - place.warmup)) / scale)


def _cosine_with_min_lr(place: _Place) -> float:
    return max(0, _between(_wave(float(place.option("num_cycles", 0.5)), place.share), place.least()))


def _cosine_warmup_with_min_lr(place: _Place) -> float:
    step, warmup, total = float(place.step), float(place.warmup), float(place.total)
    least = place.least()
    if step < warmup:
        if place.kwargs.get("warmup_lr_rate") is None:
            return (step + 1.0) / max(1.0, warmup)
        first = float(number(place.kwargs, "warmup_lr_rate"))
        return first + (1.0 - first) * step / max(1, warmup - 1)
    share = (step - warmup + 1.0) / max(1.0, total - warmup)
    return max(0, _between(_wave(place.option("num_cycles", 0.5), share), least))


def _warmup_stable_decay(place: _Place) -> float | None:
    """Warm-up, a constant rate, and the decay. Older releases have no `warmup_type`, and warm up from 0."""
    decay, least = number(place.kwargs, "num_decay_steps"), place.option("min_lr_ratio", 0)
    stable = place.option("num_stable_steps", place.total - place.warmup - decay)
    if place.step < place.warmup:
        if least and "warmup_type" not in place.kwargs:
            return None
        done = float(place.step) / float(max(1, place.warmup))
        rising = {"linear": lambda: done, "cosine": lambda: 0.5 * (1.0 - math.cos(math.pi * done))}
        return _stage(rising | {"1-sqrt": lambda: 1.0 - math.sqrt(1.0 - done)}, place, "warmup_type", "linear", least)
    if place.step < place.warmup + stable:
        return 1.0
    if place.step >= place.warmup + stable + decay:
        return least
    gone = float(place.step - place.warmup - stable) / float(max(1, decay))
    cycles = float(place.option("num_cycles", 0.5))
    falling = {"linear": lambda: 1.0 - gone, "cosine": lambda: _wave(cycles, gone)}
    return _stage(falling | {"1-sqrt": lambda: 1.0 - math.sqrt(gone)}, place, "decay_type", "cosine", least)


def _stage(
    shapes: Mapping[str, Callable[[], float]], place: _Place, key: str, default: str, least: float
) -> float | None:
    shape = place.kwargs.get(key, default)
    if not isinstance(shape, str) or shape not in shapes:
        return None
    return max(0.0, shapes[shape]() * (1.0 - least) + least)


def _wave(cycles: float, share: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * cycles * 2.0 * share))


def _between(factor: float, least: float) -> float:
    return factor * (1 - least) + least


_FORMULAS: Mapping[str, tuple[Callable[[_Place], float | None], str]] = {
    "constant": (lambda place: 1, ""),
    "constant_with_warmup": (_after_warmup(lambda place: 1.0), ""),
    "linear": (_after_warmup(_linear), ""),
    "cosine": (_after_warmup(_cosine), "num_cycles"),
    "cosine_with_restarts": (_after_warmup(_cosine_with_restarts), "num_cycles"),
    "polynomial": (_after_warmup(_polynomial), "lr_end power"),
    "inverse_sqrt": (_after_warmup(_inverse_sqrt), "timescale"),
    "cosine_with_min_lr": (_after_warmup(_cosine_with_min_lr), "num_cycles min_lr min_lr_rate"),
    "cosine_warmup_with_min_lr": (_cosine_warmup_with_min_lr, "num_cycles min_lr min_lr_rate warmup_lr_rate"),
    "warmup_stable_decay": (
        _warmup_stable_decay,
        "num_decay_steps num_stable_steps warmup_type decay_type min_lr_ratio num_cycles",
    ),
}
"""Name -> formula, and the arguments in `lr_scheduler_kwargs` whose meaning is the same in all releases."""
