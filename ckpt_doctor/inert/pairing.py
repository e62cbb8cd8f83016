"""Which schedule and which model go with which optimizer, where a checkpoint has several of them.

Names decide first (`optimizerG`, `schedulerG`): a script loads by them. Else a scheduler leaves `initial_lr` in the
groups of its optimizer, and has the same numbers in `base_lrs`; it has as many rates as the optimizer has groups. Where
that leaves several, the same place in two lists of one length decides, then the rates that were set last. What stays
open is named, not guessed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field

from ckpt_doctor.inert.shapes import Optimizer, Part, Scheduler, Shapes
from ckpt_doctor.types import KeyPath, TensorRef, holds_rate, mapping_of, real
from ckpt_doctor.types.record import kept, record

MOST = 64
"""Optimizers, or schedulers, of a checkpoint in which pairs are looked for."""
MOST_COMPARED = 200_000
"""Rates that are compared for them."""
_KINDS = (
    r"(?i)optimi[sz]ers?|optims?|opts?|(lr_?)?sch(ed(uler)?)?s?|(state|model|network|net|module)s?(_?dicts?)?"
    r"|lr(?![a-z])"
)
Tensors = Counter[tuple[int, ...]]
Step = Callable[[int, list[int]], list[int]]
"""Scheduler and the optimizers that it may be of -> those of them that it is of by one kind of evidence."""


@record(frozen=True)
class Pairing:
    """Optimizers and schedulers by their numbers in `Shapes`."""

    schedulers: Mapping[int, int] = field(default_factory=dict)
    """Optimizer -> its scheduler."""
    open: tuple[int, ...] = ()
    """Schedulers whose optimizer does not show."""


@kept
def pairing_of(shapes: Shapes) -> Pairing:
    """Pair the optimizers and schedulers of a checkpoint."""
    optimizers, schedulers = shapes.optimizers, shapes.schedulers
    if not schedulers:
        return Pairing()
    if len(optimizers) == len(schedulers) == 1:
        return Pairing({0: 0})
    compared = len(schedulers) * sum(len(optimizer.groups) for optimizer in optimizers)
    if max(len(optimizers), len(schedulers)) > MOST or compared > MOST_COMPARED:
        return Pairing(open=tuple(range(len(schedulers))))
    counted = [[o for o, other in enumerate(optimizers) if _as_many(other, one)] for one in schedulers]
    begun = [[o for o in held if _began(optimizers[o], one)] for one, held in zip(schedulers, counted, strict=True)]
    lists = _lists([one.path for one in optimizers], [one.path for one in schedulers])
    names, own = ([_name(part.path, lists) for part in parts] for parts in (optimizers, schedulers))

    def named(scheduler: int) -> bool:
        return bool(own[scheduler]) and schedulers[scheduler].path[:-1] not in lists

    steps: tuple[Step, ...] = (
        lambda _, left: left,
        lambda s, left: [o for o in left if own[s] and names[o] == own[s]],
        lambda s, left: [o for o in left if agree(optimizers[o], schedulers[s])],
    )
    found = _decided(dict(enumerate(counted)), [lambda s, left: [o for o in left if named(s) and names[o] == own[s]]])
    while True:
        free = {s: [o for o in begun[s] if o not in found] for s in range(len(schedulers)) if s not in found.values()}
        free = {s: left or [o for o in counted[s] if o not in found] for s, left in free.items()}
        if not (pairs := _decided(free, steps)):
            return Pairing(found, tuple(free))
        found.update(pairs)


def _decided(free: Mapping[int, list[int]], steps: Iterable[Step]) -> dict[int, int]:
    """The pairs, optimizer -> scheduler, that the first telling step leaves no choice in."""
    for step in steps:
        only = {s: held[0] for s, left in free.items() if len(held := step(s, left)) == 1}
        asked = Counter(only.values())
        if pairs := {o: s for s, o in only.items() if asked[o] == 1}:
            return pairs
    return {}


def last_rates(scheduler: Scheduler) -> Sequence[object]:
    """The rates that a scheduler set in its last step; empty where its state has none."""
    rates = scheduler.state.get("_last_lr")
    return rates if isinstance(rates, (list, tuple)) else ()


def agree(optimizer: Optimizer, scheduler: Scheduler) -> bool:
    """Whether all rates are those that the scheduler set; what cannot be read says nothing against it."""
    last = last_rates(scheduler)
    if len(last) != len(optimizer.groups):
        return False
    for has, set_ in zip(optimizer.rates, last, strict=True):
        expected = real(set_)
        if real(has) is None or expected is None:
            return True
        if not (holds_rate(has, expected) or holds_rate(set_, real(has) or 0.0)):
            return False
    return True


def _base(scheduler: Scheduler) -> Sequence[object] | None:
    """The rates that a schedule began with; of one that holds others those of the first."""
    state: Mapping[object, object] | None = scheduler.state
    held = scheduler.state.get("_schedulers")
    if isinstance(held, (list, tuple)) and held:
        state = mapping_of(held[0])
    base = state.get("base_lrs") if state is not None else None
    return base if isinstance(base, (list, tuple)) else None


def _as_many(optimizer: Optimizer, scheduler: Scheduler) -> bool:
    """Whether a scheduler has a rate for each group; one that does not show how many may be of any optimizer."""
    shown = last_rates(scheduler) or _base(scheduler) or scheduler.state.get("min_lrs")
    return not isinstance(shown, (list, tuple)) or len(shown) == len(optimizer.groups)


def _began(optimizer: Optimizer, scheduler: Scheduler) -> bool:
    """Whether the optimizer has what a scheduler's constructor leaves in it; a plateau leaves nothing."""
    base, initial = _base(scheduler), [group.get("initial_lr") for group in optimizer.groups]
    if scheduler.is_plateau or base is None:
        return True
    return None not in initial and list(map(real, base)) == list(map(real, initial))


# --- names -----------------------------------------------------------------------------------------------------------


def _lists(*paths: Sequence[KeyPath]) -> frozenset[KeyPath]:
    """Lists as long as one of the other kind: the same place in both says the same."""
    one, other = (Counter(path[:-1] for path in held if path and isinstance(path[-1], int)) for held in paths)
    return frozenset(
        path for path, length in (one | other).items() if length in one.values() and length in other.values()
    )


def _name(path: KeyPath, lists: Iterable[KeyPath] = ()) -> str:
    """What is left of a key when its kind is taken off: `g` of `optimizer_G_state_dict`; empty where nothing is."""
    if path[:-1] in lists:
        return str(path[-1])
    parts = [part for part in path if isinstance(part, str)]
    return "".join(re.findall(r"[a-z0-9]+", "_".join(re.sub(_KINDS, "_", part) for part in parts).lower()))


# --- models ----------------------------------------------------------------------------------------------------------


def model_of(optimizer: Optimizer, shapes: Shapes) -> Part | None:
    """The model that an optimizer trains: the only one, the one of its name, else the one that its moments fit.

    A name decides against the moments only where they are those of another single model, or of none in the file."""
    models = shapes.trained
    if len(models) < 2 or len(models) > MOST:
        return models[0] if len(models) == 1 else None
    lists = _lists([one.path for one in shapes.optimizers], [model.path for model in models])
    name = _name(optimizer.path, lists)
    names = [_name(model.path, lists) for model in models]
    moments = Counter(shapes_of_moments(optimizer))
    held, everything = _tensors(shapes)
    fitting = [at for at, tensors in enumerate(held) if moments and moments <= tensors]
    named = [at for at, other in enumerate(names) if name and other == name]
    if len(named) == 1 and (fitting or not moments or not moments <= everything):
        return models[named[0]]
    if len(fitting) > 1:
        fitting = [at for at in fitting if name and names[at] and _is_short(name, names[at])]
    return models[fitting[0]] if len(fitting) == 1 else None


def shapes_of_moments(optimizer: Optimizer) -> list[tuple[int, ...]]:
    """The shape of each parameter's moments: that of its largest tensor; nothing for what keeps none."""
    held = ([value for value in entry.values() if isinstance(value, TensorRef)] for entry in optimizer.entries)
    largest = (max(tensors, key=lambda tensor: tensor.numel) for tensors in held if tensors)
    return [tensor.shape for tensor in largest if tensor.shape]


@kept
def _tensors(shapes: Shapes) -> tuple[list[Tensors], Tensors]:
    """The shapes of each model's tensors, and those of all models."""
    held = [
        Counter(value.shape for value in model.value.values() if isinstance(value, TensorRef))
        for model in shapes.trained
    ]
    return held, Counter(shape for tensors in held for shape in tensors.elements())


def elements(shapes: Shapes) -> int:
    """Of all trained models."""
    values = (value for model in shapes.trained for value in model.value.values())
    return sum(value.numel for value in values if isinstance(value, TensorRef))


def covers(shapes: Shapes, optimizer: Optimizer) -> bool:
    """Whether the moments of an optimizer are those of parameters that the checkpoint has, but for less than half.

    A parameter of one element (a temperature, a loss weight) is often saved beside the models."""
    moments = Counter(shape for shape in shapes_of_moments(optimizer) if math.prod(shape) > 1)
    _, everything = _tensors(shapes)
    foreign = (moments - everything).total()
    return 2 * foreign < max(1, moments.total())


def _is_short(one: str, other: str) -> bool:
    """`g` is short for `generator`."""
    return one.startswith(other) or other.startswith(one)
