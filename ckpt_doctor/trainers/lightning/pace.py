"""Schedules that a script steps by hand, and those of several optimizers: how each goes with what the loops count.

The loops count no steps of theirs. In a run, each goes by the epochs, by the steps of its own optimizer, by the
batches or by nothing, where the script steps it never; a file in which one does not is of another moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ckpt_doctor.inert.lines import ENOUGH
from ckpt_doctor.inert.scheduler_kinds import PLATEAU, kind_of
from ckpt_doctor.trainers import schedules
from ckpt_doctor.trainers.lightning.history import By, Pace, history_of
from ckpt_doctor.trainers.lightning.layout import is_by_hand, is_measured, optimizers, version_of
from ckpt_doctor.trainers.lightning.loops import Loops, loops_of
from ckpt_doctor.trainers.lightning.schedule import Target, changes_of, reached, scheduled, state_of, stored
from ckpt_doctor.trainers.state import as_written, highest_step, own_rates, param_groups
from ckpt_doctor.types import Evidence, KeyPath, Member, Run, dotted, mapping_of, same_rate

_BEFORE_THE_END = "the file was saved at an epoch's last batch, and no resume takes a step of "
_NOR_AT_THE_START = "that epoch's end, nor of the next one's start"
_UNLESS_AT_THE_START = "the epoch's end; right only where the script steps at an epoch's start"
_WITHOUT_START = (2, 5)
"""From this release on, a resume from such a file leaves out `on_train_epoch_start` (`FitLoop.on_advance_start`)."""
_MAY_LACK_A_START = (
    "the file was saved at an epoch's last batch, where its position is that of a script that steps at the last batch, "
    "and of one that steps at each epoch's start, of which a resume leaves one out"
)
_MAY_BE_OF_A_START = "it is right where the script steps the schedule at an epoch's start, and too far else"
NOT_CLEAR = "how the schedule's position follows from epochs, batches or the optimizer's steps is not clear"


def is_measured_here(member: Member, by_script: bool = False) -> bool:
    """Whether the file has several optimizers, or steps that are made by hand, if only those of the schedule."""
    several = optimizers(member.checkpoint) > 1 or is_by_hand(member.checkpoint) or by_script
    return several and is_measured(member.checkpoint) and loops_of(member.checkpoint) is not None


def _counts(loops: Loops, member: Member) -> dict[By, int | None]:
    """What a schedule can go by, in the order in which one is preferred."""
    steps = highest_step(member.at("optimizer", "state"))
    return {"epoch": loops.start, "step": steps, "batch": loops.batches, "epoch before": loops.start - 1, "nothing": 0}


def paces(members: Iterable[Member], by_script: bool = False) -> dict[KeyPath, Pace]:
    """For each optimizer of a run's files, by what its schedule goes."""
    seen: dict[KeyPath, Counter[By]] = {}
    files: Counter[KeyPath] = Counter()
    inside: set[KeyPath] = set()
    whole: dict[tuple[KeyPath, By], Member] = {}
    for member in (one for each in members if is_measured_here(each, by_script) for one in each.optimizers):
        loops, last = loops_of(member.checkpoint), member.state.last_epoch
        if loops is None or last is None or state_of(member) is None:
            continue
        place = member.path("optimizer")
        held = [by for by, count in _counts(loops, member).items() if count == last]
        if loops.is_before_end:  # the epoch's step is still to come
            held = ["epoch" if by == "epoch before" else by for by in held]
        files[place] += 1
        if not loops.at_end and "epoch" in held:
            inside.add(place)
        seen.setdefault(place, Counter()).update(held)
        for by in held:
            whole.setdefault((place, by), member)
    found = {place: _pace(place, count, seen[place], whole) for place, count in files.items()}
    return {place: replace(pace, is_seen_inside=place in inside) for place, pace in found.items()}


def _pace(place: KeyPath, files: int, seen: Counter[By], whole: Mapping[tuple[KeyPath, By], Member]) -> Pace:
    order: tuple[By, ...] = ("epoch", "step", "batch", "epoch before", "nothing")
    by = max(order, key=lambda one: seen[one])
    missed = files - seen[by]
    enough = ENOUGH if by in ("epoch before", "nothing") else 0
    known = files >= enough and (not missed or (missed == 1 and files > ENOUGH))
    return Pace(by if known else None, whole.get((place, by)) if known else None)


def due(member: Member, run: Run) -> int | None:
    """The position that the schedule of a member's optimizer has where the run goes on; None where it is not known."""
    loops, history = loops_of(member.checkpoint), history_of(run)
    pace = history.paces.get(member.path("optimizer"))
    if loops is None or pace is None:
        return None
    line = history.lines.get(dotted(member.path("scheduler")))
    if pace.by is None:
        return line.at(loops.start) if line is not None and loops.at_end else None
    return _counts(loops, member)[pace.by]


def target(member: Member, run: Run) -> Target:
    """The schedule of one optimizer at the resume point of a file."""
    loops, state = loops_of(member.checkpoint), state_of(member)
    last, own = member.state.last_epoch, Target(rates=stored(member))
    if loops is None or state is None or last is None:
        return own
    expected = due(member, run)
    if expected is None:
        return Target(open=NOT_CLEAR)
    unit, pace = "epoch" if expected == loops.start else "step", history_of(run).paces.get(member.path("optimizer"))
    if not loops.at_end and unit == "epoch" and last == expected + 1 and pace is not None and not pace.is_seen_inside:
        return Target(open=_MAY_BE_OF_A_START)
    if expected == last:
        was_moved = as_written(member.checkpoint, (*member.path("scheduler"), "last_epoch"), last) != last
        settled = not loops.is_before_end or unit == "step" or was_moved or (pace is not None and pace.is_seen_inside)
        if not settled and _leaves_out_a_start(member):
            return Target(open=_MAY_LACK_A_START)
        rates = scheduled(member, run) or own.rates
        return Target(expected, rates, evidence=f"the schedule's own state at {last:,}", unit=unit)
    why = _why_behind(member) if loops.is_before_end and last == expected - 1 else ""
    evidence = f"the run's schedule is at {unit} {expected:,} there"
    moved = None if kind_of(state) == PLATEAU else reached(member, run, state, expected)
    if moved is None:
        return Target(expected, evidence=evidence, unit=unit, why_behind=why)
    return Target(expected, moved.as_rates(), changes_of(member, state, moved), evidence, why, unit)


def _why_behind(member: Member) -> str:
    return _BEFORE_THE_END + (_NOR_AT_THE_START if _leaves_out_a_start(member) else _UNLESS_AT_THE_START)


def _leaves_out_a_start(member: Member) -> bool:
    return version_of(member.checkpoint) >= _WITHOUT_START


def donor(member: Member, run: Run) -> Member | None:
    """Another file with the schedule of this member's optimizer, as that sees it, where this file has lost its own."""
    pace = history_of(run).paces.get(member.path("optimizer"))
    had = any("initial_lr" in group for group in param_groups(member))
    return pace.whole if pace is not None and had and not member.has("scheduler") and is_measured_here(member) else None


def rebuilt(member: Member, run: Run) -> Evidence[list[Any]] | None:
    """All schedules of a file that has lost some, in another file's order.

    None where the rates of an optimizer are not those that the other file's schedule has there."""
    found: dict[KeyPath, object] = {}
    sources = []
    for one in member.optimizers:
        other = donor(one, run)
        if other is not None:
            state, position = mapping_of(other.at("scheduler")), due(one, run)
            moved = schedules.reached(state, param_groups(one), position) if state and position is not None else None
            own = own_rates(one)
            if moved is None or own is None or not all(map(same_rate, moved.rates, own)):
                return None
            found[other.path("scheduler")] = moved.state
            sources.append(f"the schedule of {other.label} at {position:,}")
        elif one.has("scheduler"):
            kept = history_of(run).paces[one.path("optimizer")].whole
            if kept is None:
                return None
            found[kept.path("scheduler")] = one.at("scheduler")
    states = [found[place] for place in sorted(found, key=lambda place: int(place[-1]))]
    places = {("lr_schedulers", at) for at in range(len(states))}
    return Evidence(states, "; ".join(sources)) if sources and found.keys() == places else None
