"""The position that a hand-written loop's schedule must have, and its state there: computed, or from a sibling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpt_doctor.trainers.plain.position import finished, kin_of, saved_position
from ckpt_doctor.trainers.schedules import Stepped, advanced, moved_to
from ckpt_doctor.trainers.state import own_rates, param_groups
from ckpt_doctor.types import Member, Run, holds_rate, mapping_of, real


@dataclass(frozen=True)
class Target:
    """The scheduler's state, and the param groups' values that it sets, at the run's position."""

    at: Stepped
    source: str

    @property
    def rates(self) -> tuple[float, ...]:
        """The rate of every param group."""
        return tuple(rate for group in self.at.groups if (rate := real(group.get("lr"))) is not None)


def expected_position(member: Member, run: Run) -> int | None:
    """The `last_epoch` of an uninterrupted run that begins its next epoch; None where nothing proves it."""
    kin, done = kin_of(member, run), finished(member, run)
    return None if done is None or kin.pace is None else done.value * kin.pace - kin.behind


def target(member: Member, run: Run) -> Target | None:
    """The schedule at its expected position; None where neither its state nor a sibling has the formula."""
    expected, state = expected_position(member, run), mapping_of(member.at("scheduler"))
    groups = param_groups(member)
    if expected is None or state is None or not groups:
        return None
    source = f"{finished(member, run).source}"  # type: ignore[union-attr]  # expected_position() needs it
    if member.state.last_epoch == expected:
        return Target(Stepped(dict(state), tuple(map(dict, groups))), source)
    return _computed(member, state, groups, expected, source) or _of_sibling(member, run, expected)


def _computed(
    member: Member, state: Mapping[Any, Any], groups: Sequence[Mapping[Any, Any]], expected: int, source: str
) -> Target | None:
    ahead = expected - (member.state.last_epoch or 0)
    try:
        steps = ahead > 0 and rates_agree(member)
        moved = advanced(state, groups, ahead) if steps else moved_to(state, groups, expected)
    except ValueError:
        return None
    return None if moved is None else Target(moved, f"torch's own steps to {expected:,}; {source}")


def _of_sibling(member: Member, run: Run, expected: int) -> Target | None:
    """From the next epoch's file, if it was saved before its own scheduler's step: its rates are those of that epoch.

    Nothing in it was computed for another position, so this holds for any schedule."""
    own = mapping_of(member.at("scheduler")) or {}
    for other in kin_of(member, run).members:
        state, groups = mapping_of(other.at("scheduler")), param_groups(other)
        same = other.state.last_epoch == saved_position(other) == expected
        done, theirs = finished(member, run), finished(other, run)
        later = done is not None and theirs is not None and theirs.value == done.value + 1
        alike = state is not None and state.keys() == own.keys() and len(groups) == len(param_groups(member))
        if same and later and alike and state is not None and rates_agree(other):
            return Target(
                Stepped(dict(state), tuple(map(dict, groups))),
                f"{other.label}, which was saved before its scheduler's step",
            )
    return None


def rates_agree(member: Member) -> bool:
    """Whether the optimizer has the rates that the scheduler set last."""
    last, groups = member.at("scheduler", "_last_lr"), param_groups(member)
    if not isinstance(last, (list, tuple)):
        return last is None and not is_nested(member)
    pairs = zip(groups, last, strict=False)
    return len(last) == len(groups) and all(_is_rate(group.get("lr"), rate) for group, rate in pairs)


def _is_rate(value: object, rate: object) -> bool:
    number = real(rate)
    return number is not None and holds_rate(value, number)


def is_nested(member: Member) -> bool:
    """Whether the scheduler holds others."""
    return "_schedulers" in (mapping_of(member.at("scheduler")) or {})


def steady_rates(member: Member, run: Run) -> tuple[float, ...] | None:
    """The rates of a run without a scheduler, where no file of it has others and no scheduler ever set one."""
    mine, kin = own_rates(member), kin_of(member, run)
    moved = any("initial_lr" in group for group in param_groups(member))
    return mine if mine and not moved and len(kin.members) > 1 and kin.rates == mine else None
