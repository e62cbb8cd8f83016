"""The position that a hand-written loop's schedule must have, and its state there: computed, or from a sibling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpt_doctor.inert.lines import ENOUGH
from ckpt_doctor.inert.pairing import pairing_of
from ckpt_doctor.inert.scheduler_kinds import PLATEAU, kind_of
from ckpt_doctor.inert.shapes import find
from ckpt_doctor.trainers.plain import layout
from ckpt_doctor.trainers.plain.position import Kin, as_read, shapes_of, standing
from ckpt_doctor.trainers.plain.saved import saved_position
from ckpt_doctor.trainers.plain.siblings import alike
from ckpt_doctor.trainers.schedules import Stepped, advanced, moved_to, reached
from ckpt_doctor.trainers.state import formula_of, own_rates, param_groups
from ckpt_doctor.types import Member, Run, TensorRef, holds_rate, mapping_of, real, same_rate
from ckpt_doctor.types.record import kept, record

MOST_DONORS = 3
"""Siblings whose schedule is tried in the place of a missing one."""


@record(frozen=True)
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
    here = standing(member, run)
    kin, done, departed = here.kin, here.finished, here.departure
    if layout.has_several(member.checkpoint) and not (member.at("optimizer", "state") or saved_position(member)):
        return None  # its schedule may begin with its training
    if done is not None and kin.pace is not None:
        at = kin.pace.at(done.value)
        return at if kin.pace.has(done.value, at) else None
    label, line = here.label, kin.agreed.schedule
    if departed is None or departed.label is None or "schedule" not in departed.parts or line is None or label is None:
        return None
    return line.at(label)


def target(member: Member, run: Run) -> Target | None:
    """The schedule at its expected position; None where neither its state nor a sibling has the formula."""
    expected, state = expected_position(member, run), mapping_of(member.at("scheduler"))
    groups = param_groups(member)
    if expected is None or state is None or not groups:
        return None
    here = standing(member, run)
    done, departed = here.finished, here.departure
    source = done.source if done is not None else departed.told if departed is not None else ""
    if member.state.last_epoch == expected:
        return Target(Stepped(dict(state), tuple(map(dict, groups))), source)
    return _computed(member, state, groups, expected, source) or _of_sibling(member, run, expected)


def _computed(
    member: Member, state: Mapping[Any, Any], groups: Sequence[Mapping[Any, Any]], expected: int, source: str
) -> Target | None:
    ahead = expected - (member.state.last_epoch or 0)
    jumped, own = reached(state, groups, expected), own_rates(member)
    if jumped is not None and own is not None and all(map(same_rate, jumped.rates, own)):
        return Target(jumped, f"torch's own steps to {expected:,}, which has the file's rates; {source}")
    try:
        steps = ahead > 0 and rates_agree(member)
        moved = advanced(state, groups, ahead) if steps else moved_to(state, groups, expected)
    except ValueError:
        return None
    return None if moved is None else Target(moved, f"torch's own steps to {expected:,}; {source}")


def donors(member: Member, run: Run) -> list[Member]:
    """The siblings that have a schedule, where this file has none although a scheduler set its rates."""
    if member.has("scheduler") or not any("initial_lr" in group for group in param_groups(member)):
        return []
    if pairing_of(find(member.checkpoint)).open:
        return []  # it may be one of those
    return [other for other in standing(member, run).kin.members if mapping_of(other.at("scheduler")) is not None]


def rebuilt(member: Member, run: Run) -> Target | None:
    """The schedule that the file lacks, from a sibling's, at the run's position.

    None where the file's rates are not those of that schedule there, or before its last step: then it is another one.
    """
    expected, groups = expected_position(member, run), param_groups(member)
    if expected is None:
        return None
    own = own_rates(member)
    if own is None:
        return None
    for donor in donors(member, run)[:MOST_DONORS]:
        state = mapping_of(donor.at("scheduler")) or {}
        source = f"{donor.label}'s schedule at {expected:,}"
        for at in (expected, expected - 1):
            before, after = reached(state, groups, at), reached(state, groups, expected)
            if before is not None and after is not None and all(map(same_rate, before.rates, own)):
                return Target(after, source)
        if kind_of(state) == "LambdaLR" and donor.state.last_epoch == saved_position(donor) and _is_settled(donor, run):
            place = {"last_epoch": expected, "_step_count": expected + 1, "_last_lr": list(own)}
            return Target(Stepped({**state, **place}, tuple(map(dict, groups))), f"{source}, with the file's own rates")
    return None


def _is_settled(donor: Member, run: Run) -> bool:
    """Whether the run saves after its schedule's step, so that the rates of its files are those of the next epoch."""
    return donor.state.last_epoch == expected_position(donor, run)


def _of_sibling(member: Member, run: Run, expected: int) -> Target | None:
    """From the next epoch's file, if it was saved before its own scheduler's step: its rates are those of that epoch.

    Nothing in it was computed for another position, so this holds for any schedule."""
    own, here = mapping_of(member.at("scheduler")) or {}, standing(member, run)
    done = here.finished
    for other in here.kin.members:
        state, groups = mapping_of(other.at("scheduler")), param_groups(other)
        same = other.state.last_epoch == saved_position(other) == expected
        theirs = standing(other, run).finished
        later = done is not None and theirs is not None and theirs.value == done.value + 1
        alike = state is not None and state.keys() == own.keys() and len(groups) == len(param_groups(member))
        if same and later and alike and state is not None and rates_agree(other):
            return Target(
                Stepped(dict(state), tuple(map(dict, groups))),
                f"{other.label}, which was saved before its scheduler's step",
            )
    return None


def owner_of(member: Member, run: Run) -> Member | None:
    """The other optimizer of the run whose schedule this member has in the place of its own, by the run's files.

    Of lists in which each optimizer's schedule was found, the one in whose place this member's is."""
    whole = as_read(member, run).optimizers
    kin, own = standing(member, run).kin, formula_of(member)
    if own and kin.formula not in ("", own):
        return next((one for one in whole if standing(one, run).kin.formula == own), None)
    places = [standing(one, run).kin.place for one in whole]
    all_are_here = all(one.has("scheduler") == (place is not None) for one, place in zip(whole, places, strict=True))
    if not own or not all_are_here or member.path("scheduler") == kin.place:
        return None
    return next((one for one in whole if standing(one, run).kin.place == member.path("scheduler")), None)


_FROM_ITS_BASE = ("LambdaLR", "CosineAnnealingWarmRestarts", "CyclicLR")
"""Schedules that compute each rate from `base_lrs`; others from the rate before it (torch/optim/lr_scheduler.py)."""


def is_alone_another(member: Member, run: Run) -> bool:
    """Whether the schedule is computed from other values than in files before and after it that are named alike."""
    here = standing(member, run)
    kin, label = here.kin, here.label
    if formula_of(member) == kin.formula or not kin.formula or label is None:
        return False
    has_base = kind_of(member.at("scheduler")) in _FROM_ITS_BASE
    own = formula_of(member, has_base)
    usual = [(at, one) for at, one in alike(member, run).members if formula_of(one) == kin.formula]
    if not own or any(formula_of(one, has_base) == own for _, one in usual[:1]):
        return False
    return any(at < label for at, _ in usual) and any(at > label for at, _ in usual)


def moments_owner(member: Member, run: Run) -> Member | None:
    """The other optimizer of the run whose moments this member has, by their shapes in the run's files.

    Not where they do not fit the model of its name, which is said without siblings."""
    own, usual = shapes_of(member), standing(member, run).kin.moments
    if not own or own == usual or not usual or (member.has("model") and not _fits_model(member, own)):
        return None
    whole = as_read(member, run).optimizers
    return next((one for one in whole if standing(one, run).kin.moments == own), None)


def _fits_model(member: Member, moments: Sequence[tuple[int, ...]]) -> bool:
    """Whether most moments do."""
    tensors = (mapping_of(member.at("model")) or {}).values()
    held = Counter(value.shape for value in tensors if isinstance(value, TensorRef))
    return 2 * (Counter(moments) - held).total() <= len(moments)


def is_alone_off(member: Member, run: Run) -> bool:
    """Whether one of several optimizers has other rates than its scheduler set, in this file alone of three or more.

    Of a single one the rule for every file says so, but for a plateau's. Not where the schedule is of another moment,
    or of another optimizer, which is said of it."""
    here = standing(member, run)
    kin, departed = here.kin, here.departure
    is_late = departed is not None and "schedule" in departed.parts
    alone = len(kin.members) >= ENOUGH and kin.off_rates == {member.checkpoint.path}
    is_ours = layout.has_several(member.checkpoint) or kind_of(member.at("scheduler")) == PLATEAU
    return alone and not is_late and is_ours and owner_of(member, run) is None


def odd_rates(member: Member, run: Run) -> dict[int, tuple[float, float]]:
    """Group -> its rate, and that of all files before and after this one, where no scheduler sets any."""
    kin = standing(member, run).kin
    return _odd_rates(kin).get(member.checkpoint.path, {})


@kept
def _odd_rates(kin: Kin) -> dict[Path, dict[int, tuple[float, float]]]:
    """The same of each file that alone has another."""
    labelled = [(kin.labels[one.checkpoint.path], one) for one in kin.members if one.checkpoint.path in kin.labels]
    ordered = sorted(labelled, key=lambda one: one[0])
    rates = [own_rates(one) or () for _, one in ordered]
    found: dict[Path, dict[int, tuple[float, float]]] = {}
    if any(one.has("scheduler") or layout.own_schedule(one.checkpoint) is not None for _, one in ordered):
        return found
    for at in range(max(map(len, rates), default=0)):
        held = [(one[at], label, member) for one, (label, member) in zip(rates, ordered, strict=True) if at < len(one)]
        ((usual, many),) = Counter(rate for rate, *_ in held).most_common(1)
        odd = [(rate, label, member) for rate, label, member in held if rate != usual]
        if len(odd) == 1 and many > ENOUGH and held[0][1] < odd[0][1] < held[-1][1]:
            found.setdefault(odd[0][2].checkpoint.path, {})[at] = (odd[0][0], usual)
    return found


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
    mine, kin = own_rates(member), standing(member, run).kin
    moved = any("initial_lr" in group for group in param_groups(member))
    return mine if mine and not moved and len(kin.members) > 1 and _usual_rates(kin) == {mine} else None


@kept
def _usual_rates(kin: Kin) -> set[tuple[float, ...] | None]:
    """The rates of a run's files but for one that alone has others."""
    odd = _odd_rates(kin)
    others = (one for one in kin.members if one.checkpoint.path not in odd)
    return set(map(own_rates, others))
