"""A scheduler and its optimizer some steps later, or at another position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ckpt_doctor.trainers.schedules.schedulers import (
    DEEPEST,
    Factor,
    Groups,
    Scheduler,
    Unknown,
    members_of,
    scheduler_of,
)
from ckpt_doctor.trainers.schedules.values import number, numbers
from ckpt_doctor.types import KeyPath, Rates, real
from ckpt_doctor.types.record import record

LONGEST_WALK = 200_000
"""Steps, times param groups, times schedulers, that are taken one by one: a number in a file must not buy more time."""
_INNER = frozenset({"T_cur", "_schedulers"})
SET_BY_SCHEDULERS = ("lr", "betas", "momentum")


@record(frozen=True)
class Stepped:
    """A scheduler and its optimizer at one moment."""

    state: dict[Any, Any]
    """The scheduler's whole `state_dict()`."""
    groups: tuple[dict[str, Any], ...]
    """For each param group: `lr`, and `betas` and `momentum` where it has them."""

    @property
    def rates(self) -> list[float]:
        """The rate of each param group."""
        return [group["lr"] for group in self.groups]

    def as_rates(self) -> Rates:
        """The rates and `_last_lr`; `beta1` is SGD's momentum where a group has no betas."""
        betas = [group.get("betas", [group.get("momentum")]) for group in self.groups]
        first = [real(pair[0]) if isinstance(pair, (list, tuple)) and pair else None for pair in betas]
        beta1 = tuple(value for value in first if value is not None)
        last = self.state.get("_last_lr", self.rates)
        return Rates(tuple(self.rates), beta1 if len(beta1) == len(first) else None, tuple(last))


def advanced(state: Mapping[Any, Any], groups: Sequence[Mapping[Any, Any]], steps: int = 1) -> Stepped | None:
    """Take `steps` steps of a scheduler, from the rates that the optimizer has.

    Equal to torch's `scheduler.step()` to the last bit. A rate that is a tensor is computed in Python's floats; torch
    rounds it to the tensor's type at each step.

    Args:
        state: the scheduler's `state_dict()`.
        groups: `param_groups` of the optimizer's `state_dict()`.
        steps: how many, 0 or more.

    Returns:
        The state and the groups afterwards. None where the formula is not in the state: a LambdaLR, ReduceLROnPlateau,
        a CyclicLR with a function of the script, a class that torch does not have.

    Raises:
        ValueError: the values do not allow it (torch would raise as well, or train at a rate that is not finite), or
            the steps are too many.

    Example:
        >>> state = {"gamma": 0.5, "base_lrs": [0.1], "last_epoch": 3, "_step_count": 4, "_last_lr": [0.0125]}
        >>> advanced(state, [{"lr": 0.0125}]).rates
        [0.00625]
    """

    def go(scheduler: Scheduler, working: Groups, limit: int) -> None:
        _walk(scheduler, working, steps, limit)

    return _moved(state, groups, go)


def moved_to(state: Mapping[Any, Any], groups: Sequence[Mapping[Any, Any]], position: int) -> Stepped | None:
    """Put a scheduler where it is after `position` steps from its start, whatever the optimizer's rate is now.

    Begins at the base rates and takes torch's own steps. The members of a SequentialLR or a ChainedScheduler are taken
    to be built in the order of their list. Args, Returns and Raises are those of `advanced`.
    """

    def go(scheduler: Scheduler, working: Groups, limit: int) -> None:
        _begin(state, scheduler, working)
        if not scheduler.jump(working, position):
            _walk(scheduler, working, position, limit)

    if position < 0:
        raise ValueError("no schedule has a position before its start")
    return _moved(state, groups, go)


def _begin(state: Mapping[Any, Any], scheduler: Scheduler, working: Groups) -> None:
    """Build a scheduler on groups that have the base rates again."""
    for group in working:
        group.pop("initial_lr", None)
    for source in (state, *members_of(state)[:1]):
        if "base_lrs" in source:
            for group, rate in zip(working, numbers(source, "base_lrs", len(working)), strict=True):
                group["lr"] = rate
    scheduler.build(working)


def along(
    state: Mapping[Any, Any],
    groups: Sequence[Mapping[Any, Any]],
    positions: Sequence[int],
    factor: Factor | None = None,
    *,
    begun: int | None = None,
) -> list[float] | None:
    """The rate of the first param group at positions in ascending order, in one walk.

    From the schedule's start; with `begun`, the position that the state is at, from there and the optimizer's own rate.
    `factor` is the function of a LambdaLR, from `last_epoch` to the factor. None where the formula is not known, or the
    values do not allow it.
    """
    rates: list[float] = []

    def go(scheduler: Scheduler, working: Groups, limit: int) -> None:
        at, left = begun or 0, limit
        if begun is None:
            _begin(state, scheduler, working)
        for position in positions:
            if position != at and not scheduler.jump(working, position):
                _walk(scheduler, working, position - at, left)
                left -= position - at
            at = position
            rates.append(working[0]["lr"])

    try:
        moved = _moved(state, groups, go, factor) if groups else None
    except ValueError:
        return None
    return None if moved is None else rates


def reached(state: Mapping[Any, Any], groups: Sequence[Mapping[Any, Any]], position: int) -> Stepped | None:
    """As `moved_to`; None also where the values do not allow it."""
    try:
        return moved_to(state, groups, position)
    except ValueError:
        return None


def _changes(before: object, after: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object, object]]:
    """What differs between two states or two param groups: path, value before, value after.

    Only what `after` has counts. A tuple is one value: its elements cannot be set one by one.
    """
    if after is before or _equal(before, after):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key, value in after.items():
            yield from _changes(before.get(key), value, (*path, key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _changes(old, new, (*path, index))
    else:
        yield path, before, after


def moves(
    state: Mapping[Any, Any], groups: Sequence[Mapping[Any, Any]], wanted: Stepped
) -> Iterator[tuple[str, KeyPath, object, object]]:
    """What brings a scheduler and its optimizer to another moment: slot, path below it, value before, value after."""
    for path, before, after in _changes(state, wanted.state):
        yield "scheduler", path, before, after
    for index, (group, then) in enumerate(zip(groups, wanted.groups, strict=True)):
        for path, before, after in _changes(group, _set_by_schedulers(then)):
            yield "optimizer", ("param_groups", index, *path), before, after


def has_inner_state(scheduler: object) -> bool:
    """Whether a scheduler's state is more than a position and rates."""
    return isinstance(scheduler, dict) and not _INNER.isdisjoint(scheduler)


def inner_moves(
    state: object, groups: Sequence[Mapping[Any, Any]], position: int | None
) -> tuple[tuple[str, KeyPath, object], ...] | None:
    """What brings such a scheduler and its optimizer to a position: slot, path below it, value.

    None for the other schedulers, and where the formula is not in the state."""
    if position is None or not isinstance(state, dict) or not has_inner_state(state):
        return None
    moved = reached(state, groups, position)
    return None if moved is None else tuple((slot, path, new) for slot, path, _, new in moves(state, groups, moved))


def _set_by_schedulers(group: Mapping[Any, Any]) -> dict[str, Any]:
    return {key: group[key] for key in SET_BY_SCHEDULERS if key in group}


def _equal(before: object, after: object) -> bool:
    if isinstance(before, (list, tuple)) and isinstance(after, tuple):
        return len(before) == len(after) and all(map(_equal, before, after))
    return real(after) is not None and real(before) == real(after)


def _moved(
    state: Mapping[Any, Any],
    groups: Sequence[Mapping[Any, Any]],
    go: Callable[[Scheduler, Groups, int], None],
    factor: Factor | None = None,
) -> Stepped | None:
    """Build the scheduler, let it `go` at most that many steps, and take what came of it."""
    if not isinstance(state, Mapping) or not all(isinstance(group, Mapping) for group in groups):
        raise ValueError("not the state of a scheduler and the param groups of an optimizer")
    limit = LONGEST_WALK // max(1, len(groups) * _size(state))
    if limit == 0:
        raise ValueError("the optimizer has more param groups than are stepped one by one")
    try:
        working: Groups = [{**group, "lr": number(group, "lr")} for group in groups]
        scheduler = scheduler_of(state, working, factor)
        go(scheduler, working, limit)
    except Unknown:
        return None
    except ArithmeticError as error:
        raise ValueError(f"the schedule cannot be computed ({error})") from None
    kept = tuple(map(_set_by_schedulers, working))
    return Stepped(scheduler.state, kept)


def _walk(scheduler: Scheduler, groups: Groups, steps: int, limit: int) -> None:
    if not 0 <= steps <= limit:
        raise ValueError(f"{steps} steps are more than are taken one by one ({limit})")
    for _ in range(steps):
        scheduler.step(groups)


def _size(state: Mapping[Any, Any], depth: int = DEEPEST) -> int:
    """How many schedulers a state has."""
    members = members_of(state) if depth else []
    return sum(_size(member, depth - 1) for member in members) or 1
