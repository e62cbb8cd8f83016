"""Schedulers made of their state_dicts, without torch: each steps as torch's class of the same name does.

A scheduler here owns a copy of its state and changes it and the param groups that it is given. Keys that a state of an
older torch does not have are not added. Source: `torch/optim/lr_scheduler.py` (torch 2.13), the class and the method
that are named.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ckpt_doctor.inert.scheduler_kinds import kind_of
from ckpt_doctor.trainers.schedules.one_cycle_lr import one_cycle
from ckpt_doctor.trainers.schedules.recursions import RECURSIONS
from ckpt_doctor.trainers.schedules.values import as_number, number, numbers, power, whole
from ckpt_doctor.types import same_rate

Groups = list[dict[str, Any]]
Factor = Callable[[int], "float | None"]
MOST_MEMBERS = 16
DEEPEST = 2
"""Schedulers in a scheduler, and how deep: a list in a file must not buy more time."""


class Unknown(Exception):
    """The formula of a scheduler that has to step is not in its state."""


class Scheduler(Protocol):
    """What all of them can do."""

    state: dict[Any, Any]

    def build(self, groups: Groups) -> None:
        """Do what building the scheduler does to it and to groups that have no `initial_lr` yet: its first step."""

    def step(self, groups: Groups) -> None:
        """Take one step: `scheduler.step()`."""

    def begin(self, groups: Groups) -> None:
        """Begin at a milestone of SequentialLR: `scheduler._update_lr(0)`."""

    def jump(self, groups: Groups, position: int) -> bool:
        """Go from the start to `position` at once; False where only single steps lead there."""


class _Single(ABC):
    """One scheduler with base rates: what the classes below share."""

    counted = True

    def __init__(self, state: Mapping[Any, Any], groups: Groups) -> None:
        self.state = dict(state)
        self.bases = numbers(state, "base_lrs", len(groups))

    @abstractmethod
    def rates(self, epoch: int, groups: Groups) -> list[float]:
        """`get_lr()` with `last_epoch` at `epoch`."""

    def build(self, groups: Groups) -> None:
        for group, base in zip(groups, self.bases, strict=True):
            group["initial_lr"] = base
        self.start(groups)

    def start(self, groups: Groups) -> None:
        """`_initial_step()`: to epoch 0."""
        self._update(groups, 0, self.rates(0, groups), 1)

    def step(self, groups: Groups) -> None:
        epoch = whole(self.state, "last_epoch") + 1
        count = whole(self.state, "_step_count") + 1 if self.counted and "_step_count" in self.state else None
        self._update(groups, epoch, self.rates(epoch, groups), count)

    def begin(self, groups: Groups) -> None:
        self._update(groups, 0, self.rates(0, groups))

    def jump(self, groups: Groups, position: int) -> bool:
        self._update(groups, position, self.rates(position, groups), position + 1)
        return True

    def _update(self, groups: Groups, epoch: int, rates: list[float], count: int | None = None) -> None:
        for group, lr in zip(groups, rates, strict=True):
            group["lr"] = _finite(lr)
        _put(self.state, "last_epoch", epoch)
        _put(self.state, "_last_lr", rates)
        if count is not None:
            _put(self.state, "_step_count", count if self.counted else 0)


class _Recursive(_Single):
    """A scheduler that makes each rate from the one before."""

    def __init__(self, state: Mapping[Any, Any], groups: Groups, kind: str) -> None:
        super().__init__(state, groups)
        self.rule = RECURSIONS[kind](state)

    def rates(self, epoch: int, groups: Groups) -> list[float]:
        return [self.rule.next(epoch, group["lr"], base) for group, base in zip(groups, self.bases, strict=True)]

    def start(self, groups: Groups) -> None:
        rates = self.rates(0, groups) if self.rule.changes_at_start else [group["lr"] for group in groups]
        self._update(groups, 0, rates, 1)

    def begin(self, groups: Groups) -> None:
        self._update(groups, 0, [self.rule.restarted(base) for base in self.bases])

    def jump(self, groups: Groups, position: int) -> bool:
        return False


class _Lambda(_Single):
    """LambdaLR with a factor that is known from elsewhere."""

    def __init__(self, state: Mapping[Any, Any], groups: Groups, factor: Factor | None) -> None:
        super().__init__(state, groups)
        self.factor = factor

    def rates(self, epoch: int, groups: Groups) -> list[float]:
        factor = self.factor(epoch) if self.factor else None
        if factor is None:
            raise Unknown
        return [base * factor for base in self.bases]


class _WarmRestarts(_Single):
    """CosineAnnealingWarmRestarts: a closed form of `T_cur`; `_step_count` stays 0."""

    counted = False

    def __init__(self, state: Mapping[Any, Any], groups: Groups) -> None:
        super().__init__(state, groups)
        self.eta_min, self.first, self.times = number(state, "eta_min"), whole(state, "T_0"), whole(state, "T_mult")
        if self.first < 1 or self.times < 1:
            raise ValueError("CosineAnnealingWarmRestarts needs T_0 and T_mult of at least 1")

    def rates(self, epoch: int, groups: Groups) -> list[float]:
        height = 1 + math.cos(math.pi * number(self.state, "T_cur") / number(self.state, "T_i"))
        return [self.eta_min + (base - self.eta_min) * height / 2 for base in self.bases]

    def start(self, groups: Groups) -> None:
        self.state |= {"T_cur": 0, "T_i": self.first}
        super().start(groups)

    def step(self, groups: Groups) -> None:
        current, length = number(self.state, "T_cur") + 1, number(self.state, "T_i")
        if whole(self.state, "last_epoch") < 0:
            current, length = 0, self.first
        elif current >= length:
            current, length = current % length, length * self.times
        self.state |= {"T_cur": current, "T_i": length}
        super().step(groups)

    def jump(self, groups: Groups, position: int) -> bool:
        current, length = position, self.first
        if self.times == 1:
            current %= length
        while current >= length:
            current, length = current - length, length * self.times
        self.state |= {"T_cur": current, "T_i": length}
        return super().jump(groups, position)


class _OneCycle(_Single):
    """OneCycleLR: rates and momenta from the keys that it left in the param groups."""

    def rates(self, epoch: int, groups: Groups) -> list[float]:
        points = [one_cycle(self.state, group, epoch) for group in groups]
        if all(point.momentum is not None for point in points):
            _set_momenta(self.state, groups, [point.momentum or 0.0 for point in points])
        return [point.lr for point in points]


class _Cyclic(_Single):
    """CyclicLR in its three modes; `scale_fn` of the script is not in the state."""

    SCALES: Mapping[str, Callable[[int, int, float], float]] = {
        "triangular": lambda cycle, epoch, gamma: 1.0,
        "triangular2": lambda cycle, epoch, gamma: 1 / power(2.0, cycle - 1),
        "exp_range": lambda cycle, epoch, gamma: power(gamma, epoch),
    }

    def __init__(self, state: Mapping[Any, Any], groups: Groups) -> None:
        super().__init__(state, groups)
        mode = state.get("mode")
        if not isinstance(mode, str) or mode not in self.SCALES:
            raise ValueError("CyclicLR has no mode of torch's")
        self.known = state.get("_scale_fn_custom") is None
        if state.get("scale_mode", "cycle") != ("iterations" if mode == "exp_range" else "cycle"):
            self.known = False
        self.scale, self.gamma = self.SCALES[mode], number(state, "gamma")
        self.total, self.ratio = number(state, "total_size"), number(state, "step_ratio")
        self.tops = numbers(state, "max_lrs", len(groups))
        self.momenta: list[tuple[float, float]] = []
        if state.get("cycle_momentum"):
            bottoms, tops = (numbers(state, f"{key}_momentums", len(groups)) for key in ("base", "max"))
            self.momenta = list(zip(bottoms, tops, strict=True))

    def rates(self, epoch: int, groups: Groups) -> list[float]:
        if not self.known:
            raise Unknown
        cycle = math.floor(1 + epoch / self.total)
        x = 1.0 + epoch / self.total - cycle
        height = x / self.ratio if x <= self.ratio else (x - 1) / (self.ratio - 1)
        scale = self.scale(cycle, epoch, self.gamma)
        momenta = [top - (top - bottom) * height * scale for bottom, top in self.momenta]
        if momenta:
            _set_momenta(self.state, groups, momenta)
        return [base + (top - base) * height * scale for base, top in zip(self.bases, self.tops, strict=True)]

    def build(self, groups: Groups) -> None:
        own = self.bases
        # torch takes this step before it puts base_lrs in the place of the groups' initial_lr
        self.bases = [group.setdefault("initial_lr", base) for group, base in zip(groups, own, strict=True)]
        self.start(groups)
        self.bases = own

    def agrees(self, groups: Groups) -> bool:
        """Whether the formula makes the rates that the state remembers: with a `scale_fn` of the script it does not.

        A scheduler that waits inside another one remembers others."""
        if not self.known or "_last_lr" not in self.state:
            return True
        computed = self.rates(whole(self.state, "last_epoch"), [dict(group) for group in groups])
        return all(map(same_rate, numbers(self.state, "_last_lr", len(groups)), computed))


class _Opaque:
    """A scheduler that cannot step: a class that is not known, or ReduceLROnPlateau, which needs a metric."""

    def __init__(self, state: Mapping[Any, Any]) -> None:
        self.state = dict(state)

    def build(self, groups: Groups) -> None:
        raise Unknown

    def step(self, groups: Groups) -> None:
        raise Unknown

    def begin(self, groups: Groups) -> None:
        raise Unknown

    def jump(self, groups: Groups, position: int) -> bool:
        raise Unknown


class _Several:
    """What SequentialLR and ChainedScheduler share."""

    def __init__(self, state: Mapping[Any, Any], members: Sequence[Scheduler]) -> None:
        self.members = members
        self.state = {**state, "_schedulers": [member.state for member in members]}

    def begin(self, groups: Groups) -> None:
        raise ValueError("torch cannot begin a scheduler of several at a milestone")

    def jump(self, groups: Groups, position: int) -> bool:
        return False

    def _remember(self, groups: Groups) -> None:
        _put(self.state, "_last_lr", [group["lr"] for group in groups])

    def _build_each(self, groups: Groups) -> None:
        """Build the members in the order of the list, the one that scripts build them in.

        The first sets `initial_lr`, OneCycleLR sets it anew, and all but CyclicLR keep what they find as base rates."""
        if sum(isinstance(member, _OneCycle) for member in self.members) > 1:
            raise ValueError("one OneCycleLR overwrites what the other has in the param groups")
        for member in self.members:
            if isinstance(member, _Several):
                raise ValueError("in which order schedulers inside others were built is not in the state")
            member.build(groups)


class _Chained(_Several):
    """ChainedScheduler: all of them, one after another."""

    def build(self, groups: Groups) -> None:
        self._build_each(groups)
        self._remember(groups)

    def step(self, groups: Groups) -> None:
        for member in self.members:
            member.step(groups)
        self._remember(groups)


class _Sequential(_Several):
    """SequentialLR: one after the other, each from its milestone on."""

    def __init__(self, state: Mapping[Any, Any], members: Sequence[Scheduler]) -> None:
        super().__init__(state, members)
        self.milestones = numbers(state, "_milestones", len(members) - 1)

    def build(self, groups: Groups) -> None:
        self._build_each(groups)
        for member in self.members:
            _put(member.state, "last_epoch", -1)
        for group in groups:
            group["lr"] = number(group, "initial_lr")
        _put(self.state, "last_epoch", 0)
        active = self.members[bisect_right(self.milestones, 0)]
        if isinstance(active, _Single):
            active.start(groups)
        self._remember(groups)

    def step(self, groups: Groups) -> None:
        epoch = whole(self.state, "last_epoch") + 1
        index = bisect_right(self.milestones, epoch)
        active = self.members[index]
        if index > 0 and self.milestones[index - 1] == epoch:
            active.begin(groups)
        else:
            active.step(groups)
        _put(self.state, "last_epoch", epoch)
        self._remember(groups)


def scheduler_of(
    state: Mapping[Any, Any], groups: Groups, factor: Factor | None = None, depth: int = DEEPEST
) -> Scheduler:
    """The scheduler that a state_dict describes; ValueError where its values are not usable."""
    kind = kind_of(state)
    if kind is not None and kind in RECURSIONS:
        return _Recursive(state, groups, kind)
    if kind == "LambdaLR":
        return _Lambda(state, groups, factor)
    if kind == "CosineAnnealingWarmRestarts":
        return _WarmRestarts(state, groups)
    if kind == "OneCycleLR":
        return _OneCycle(state, groups)
    if kind == "CyclicLR":
        cyclic = _Cyclic(state, groups)
        return cyclic if depth < DEEPEST or cyclic.agrees(groups) else _Opaque(state)
    if kind not in ("SequentialLR", "ChainedScheduler"):
        return _Opaque(state)
    states = members_of(state)
    if depth == 0 or not states:
        raise ValueError(f"{kind} has no usable _schedulers")
    members = [scheduler_of(member, groups, factor, depth - 1) for member in states]
    return _Sequential(state, members) if kind == "SequentialLR" else _Chained(state, members)


def members_of(state: Mapping[Any, Any]) -> list[Mapping[Any, Any]]:
    """The states in `_schedulers`; none where they are not usable."""
    members = state.get("_schedulers") if isinstance(state, Mapping) else None
    if not isinstance(members, (list, tuple)) or len(members) > MOST_MEMBERS:
        return []
    return list(members) if all(isinstance(member, Mapping) for member in members) else []


def _put(state: dict[Any, Any], key: str, value: object) -> None:
    if key in state:
        state[key] = value


def _set_momenta(state: Mapping[Any, Any], groups: Groups, momenta: Sequence[float]) -> None:
    """`betas[0]` with Adam, `momentum` with SGD."""
    for group, momentum in zip(groups, momenta, strict=True):
        _finite(momentum)
        betas = group.get("betas")
        if not state.get("use_beta1", betas is not None):
            group["momentum"] = momentum
        elif isinstance(betas, (list, tuple)) and betas:
            group["betas"] = (momentum, *betas[1:])
        else:
            raise ValueError("betas is not a list of numbers")


def _finite(value: object) -> float:
    if type(value) is not float:
        value = as_number(value, "the next rate")
    if not math.isfinite(value):
        raise ValueError(f"the schedule makes a rate of {value}")
    return value
