"""The schedule's position in a file, and in an uninterrupted run when the next epoch or batch begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckpt_doctor.inert.pairing import agree
from ckpt_doctor.inert.scheduler_kinds import PLATEAU, counts, kind_of
from ckpt_doctor.inert.shapes import Shapes
from ckpt_doctor.trainers import schedules
from ckpt_doctor.trainers.lightning import plateau
from ckpt_doctor.trainers.lightning.history import adam_lag, history_of
from ckpt_doctor.trainers.lightning.layout import is_measured, optimizers, parts_of, schedulers
from ckpt_doctor.trainers.lightning.loops import Loops, loops_of
from ckpt_doctor.trainers.lightning.several import is_counted
from ckpt_doctor.trainers.state import as_written, integer, last_rates, own_rates, param_groups, position_of
from ckpt_doctor.types import Checkpoint, Evidence, KeyPath, Member, Rates, Run, holds_rate, same_rate
from ckpt_doctor.types.record import once, record

_MOST_FILES = 8
"""Files by which a schedule's formula is tried."""
LATE_PLATEAU = "Lightning saves before the plateau's step of the epoch, and no resume takes that step"
Change = tuple[str, KeyPath, object]


@record(frozen=True)
class Target:
    """The schedule at the resume point."""

    last_epoch: int | None = None
    """None where no position is expected: no schedule, several, or one that is stepped by hand."""
    rates: Rates | None = None
    """None where they cannot be computed from the files."""
    changes: tuple[Change, ...] | None = None
    evidence: str = ""
    why_behind: str = ""
    unit: str = "step"
    open: str = ""
    """Why the rate after the resume is not known."""


def state_of(member: Member) -> Mapping[Any, Any] | None:
    """The state of the only scheduler of an optimizer."""
    state = member.at("scheduler")
    one = optimizers(member.checkpoint) > 1 or optimizers(member.checkpoint) == schedulers(member.checkpoint) == 1
    return state if one and isinstance(state, dict) and state else None


def stored(member: Member) -> Rates | None:
    """The rates that the optimizer has."""
    lr = own_rates(member)
    return None if lr is None else Rates(lr, None, lr)


def target(member: Member, run: Run) -> Target:
    """The schedule at the resume point of a file."""
    loops, state = loops_of(member.checkpoint), state_of(member)
    own = Target(rates=stored(member))
    if loops is not None and (waiting := _waiting_plateaus(member, loops)) and (state is None or waiting > 1):
        return Target(open=LATE_PLATEAU)
    if loops is None or state is None or loops.schedule is None or not is_measured(member.checkpoint):
        return own
    kind, last = kind_of(state), position_of(state)
    if last is None or kind is None:
        return own
    if kind == PLATEAU:
        return _after_plateau(member, run, loops, state, last) or own
    expected = _position(member, run, loops, state, last)
    unit = "epoch" if expected == loops.start else "step"
    if expected is None or expected == last:
        rates = scheduled(member, run) or stored(member)  # another rate in the optimizer is of another moment
        return Target(expected, rates, evidence=f"the schedule's own state at {last:,}", unit=unit)
    evidence = f"the loops have made {expected:,} steps of the schedule"
    moved = reached(member, run, state, expected)
    if moved is None:
        return Target(expected, evidence=evidence, unit=unit)
    changes = changes_of(member, state, moved)
    return Target(expected, moved.as_rates(), changes, evidence, unit=unit)


def reached(member: Member, run: Run, state: Mapping[Any, Any], position: int) -> schedules.Stepped | None:
    """The schedule at another position; None where its formula is not known, or the run's rates do not follow it.

    That is so where a script sets the rate as well, as in a warm-up by hand."""
    if once(run, "rates off their formula", lambda: _leaves_formula(run.members)):
        return None
    return schedules.reached(state, param_groups(member), position)


def _leaves_formula(members: Sequence[Member]) -> bool:
    """Whether most files whose schedule is where the loops count it have other rates than it gives from its start."""
    right = [one for one in members if lag(one) == 0 and position_of(state_of(one))][:_MOST_FILES]
    found = [
        not all(map(same_rate, moved.rates, own.lr))
        for one in right
        if (own := stored(one))
        and (moved := schedules.reached(state_of(one) or {}, param_groups(one), position_of(state_of(one)) or 0))
    ]
    return 2 * sum(found) > len(found)


def _position(member: Member, run: Run, loops: Loops, state: Mapping[Any, Any], last: int) -> int | None:
    """The steps that the loops have made with the only scheduler; None where it need not be there.

    A script that calls `scheduler.step(epoch)` in `lr_scheduler_step` sets the position itself, in every file; one that
    steps it with each batch, or each step of the optimizer, may be one behind in a file that is saved before. A run
    that goes on with a new optimizer (a second `fit`) has a new scheduler as well.
    """
    made, step = loops.schedule, member.state.global_step or 0
    by_hand = last > (made or 0) and not {last, last + 1}.isdisjoint((step, loops.batches))
    if not made or last in (made, step) or by_hand:
        return last if last == made else None
    if counts(state) and integer(state.get("_step_count")) == made + 1:
        return None
    lags = history_of(run).lags
    anew = bool(adam_lag(member)) and lags.get(made - last, 0) > 1
    return None if differs_in_most(lags) or anew else made


def lag(member: Member) -> int | None:
    """Steps by which the schedule of a file lags the loops' count of its steps."""
    loops, state = loops_of(member.checkpoint), state_of(member)
    last = position_of(state)
    return None if last is None or loops is None or loops.schedule is None else loops.schedule - last


def differs_in_most(lags: Mapping[int | None, int]) -> bool:
    """Whether most files, and more than one, have another position than the loops' count of the schedule's steps.

    Files that begin to lag and then lag by as much are those of a run that lost steps once."""
    off, level = {steps: files for steps, files in lags.items() if steps}, lags.get(0, 0)
    lost_once = level > 0 and len(off) == 1 and min(off) > 0
    return sum(off.values()) > max(1, level) and not lost_once


def is_stepped_by_script(members: Sequence[Member]) -> bool:
    """Whether an overridden `lr_scheduler_step` leaves the steps to the script, without a position to each of them."""
    own = (is_counted(state_of(member)) for member in members if lag(member) is not None)
    return differs_in_most(Counter(map(lag, members))) and all(own)


def is_without_schedule(checkpoint: Checkpoint) -> bool:
    """Whether the file has an empty list of schedules, which Lightning takes for none."""
    return checkpoint.get("lr_schedulers") == [] and is_measured(checkpoint)


def had_schedule_before(member: Member, run: Run) -> bool:
    """Whether an earlier file of the same optimizer has a schedule that leaves no `initial_lr` in it: a plateau's."""
    earlier = history_of(run).with_schedule
    step, adam = member.state.global_step or 0, adam_lag(member)
    return earlier is not None and (earlier.state.global_step or 0) < step and adam_lag(earlier) == adam


def rebuilt(member: Member, run: Run) -> Evidence[dict[Any, Any]] | None:
    """The only schedule, which the file lacks, from another file's, moved to the loops' count of its steps.

    None where no other file has one that gives this file's rates there."""
    loops, groups = loops_of(member.checkpoint), param_groups(member)
    own = stored(member)
    if loops is None or not loops.schedule or own is None or optimizers(member.checkpoint) != 1:
        return None
    donor = history_of(run).with_schedule
    state = state_of(donor) if donor is not None else None
    moved = schedules.reached(state, groups, loops.schedule) if state is not None and donor is not None else None
    if donor is None or moved is None or not all(map(same_rate, moved.rates, own.lr)):
        return None
    return Evidence(moved.state, f"the schedule of {donor.checkpoint.path.name} at {loops.schedule:,} steps")


def changes_of(member: Member, state: Mapping[Any, Any], moved: schedules.Stepped) -> tuple[Change, ...]:
    """What the move changes; rates that are equal but for rounding keep the file's own digits."""
    return tuple(
        (slot, path, after)
        for slot, path, before, after in schedules.moves(state, param_groups(member), moved)
        if not (isinstance(after, float) and holds_rate(before, after))
    )


def _waiting_plateaus(member: Member, loops: Loops) -> int:
    """How many schedulers wait for the value of an epoch that is over in this file; none once training returned."""
    held = member.checkpoint.get("lr_schedulers")
    if not loops.is_last or loops.entered == loops.epoch or not isinstance(held, list) or loops.schedule is None:
        return 0
    return sum(kind_of(state) == PLATEAU for state in held)


def _after_plateau(member: Member, run: Run, loops: Loops, state: Mapping[Any, Any], last: int) -> Target | None:
    """ReduceLROnPlateau after the step that is due when the epoch of the file ends; None where none is."""
    was_moved = as_written(member.checkpoint, (*member.path("scheduler"), "last_epoch"), last) != last
    if not _waiting_plateaus(member, loops) or (last > loops.epoch and (was_moved or last == loops.schedule)):
        return None  # the step is made, as after a repair
    if loops.schedule != last or (loops.epoch > 0 and 2 * last <= loops.epoch) or _is_seldom(member, run):
        return Target(open=LATE_PLATEAU)  # stepped now and then (`frequency`), or each step
    behind = Target(last + 1, why_behind=LATE_PLATEAU, unit="epoch")
    value = plateau.monitored(member, history_of(run).scores, state)
    after = plateau.step(state, param_groups(member), value.value) if value is not None else None
    if value is None or after is None:
        return behind
    return replace(
        behind,
        rates=after.as_rates(),
        changes=changes_of(member, state, after),
        evidence=value.source,
    )


def _is_seldom(member: Member, run: Run) -> bool:
    """Whether other files show that a plateau is not stepped after each epoch (`frequency`)."""
    counted = ((loops_of(one.checkpoint), position_of(state_of(one))) for one in run.members if one is not member)
    return any(loops.epoch > 0 and 2 * last <= loops.epoch for loops, last in counted if loops and last is not None)


def scheduled(member: Member, run: Run) -> Rates | None:
    """The rates that the file's own schedule position calls for: what it set in its last step.

    None where several schedulers or a plateau move the rate, where one of several optimizers has the rates of a
    schedule, and where every file of the run has another rate than its schedule: a script that sets the rate by hand.
    """
    by_hand = len(run.members) > 1 and history_of(run).off_rates == len(run.members)
    parts = parts_of(member.checkpoint) if optimizers(member.checkpoint) > 1 else Shapes()
    one_fits = any(agree(optimizer, plan) for optimizer in parts.optimizers for plan in parts.schedulers)
    return None if by_hand or one_fits else _set_last(member)


def _set_last(member: Member) -> Rates | None:
    state = state_of(member)
    if state is None or not is_measured(member.checkpoint):
        return None
    kind, last = kind_of(state), position_of(state)
    if kind is None or kind == PLATEAU or last is None:
        return None
    if kind == "OneCycleLR" and last >= 0:  # computed at once, and its momentum with it
        moved = schedules.reached(state, param_groups(member), last)
        return moved.as_rates() if moved is not None else None
    lr = last_rates(member)
    return None if lr is None or len(lr) != len(param_groups(member)) else Rates(lr, None, lr)


def is_off_its_schedule(member: Member) -> bool:
    """Whether the optimizer has another rate than the schedule set."""
    rates, has = _set_last(member), param_groups(member)
    return rates is not None and any(
        not holds_rate(group.get("lr"), rate) for group, rate in zip(has, rates.lr, strict=False)
    )
