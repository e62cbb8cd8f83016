"""A run of any trainer as lines to draw: the learning rate by its schedule, and the resumes that depart from it.

A line is drawn where the files' schedule gives the rate of each resume point; else there is only what the files record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ckpt_doctor.trainers.schedules import along
from ckpt_doctor.trainers.state import param_groups
from ckpt_doctor.types import Curve, Departure, FileReport, Points, RunReport, holds_rate, mapping_of, real
from ckpt_doctor.types.record import record

MOST_POINTS = 300
"""Places at which a line is computed."""
NEAR = 8
"""Places after a resume that follow one by one, so that a step more or less can be seen."""
MOST_DEPARTURES = 6
"""Resumes that are drawn of one run, the furthest first."""
BEYOND = 1.25
"""How far a line goes on after the last checkpoint where the length of the run is not known."""
FURTHEST = 1e9
Course = Sequence[float]
"""Places in ascending order."""
Rates = Callable[[Course], "Sequence[float | None] | None"]
"""The rate at each place of a course; None where it cannot be computed."""
Factor = Callable[[int], "float | None"]


@record(frozen=True)
class Stride:
    """How a schedule moves along the course of training."""

    every: int = 1
    """Steps between two moves."""
    times: int = 1
    """Positions in a move: several processes each make one."""

    def position(self, place: float) -> int:
        """The schedule's position at a place."""
        return self.times * (int(place) // self.every)


@record(frozen=True)
class RateLine:
    """How the rate of a run can be computed."""

    every: int
    """Steps between two moves of the rate."""
    end: int
    """Steps of the whole run."""
    right: Rates
    """Of the uninterrupted run."""
    own: Callable[[FileReport, Course], Sequence[float | None] | None]
    """Of a resume from a file as it is."""

    def course(self, start: float) -> list[float]:
        """Where to compute: each move at first, then as many as fit the drawing."""
        first, last = int(start // self.every) + 1, max(0, math.ceil(self.end / self.every) - 1)
        gap = max(1, math.ceil((last - first) / MOST_POINTS))
        moves = {
            *range(first, min(first + NEAR, last + 1)),
            *range(first, last + 1, gap),
            *([last] if last >= first else []),
        }
        return [start, *(float(move * self.every) for move in sorted(moves))]

    def stairs(self, points: Sequence[Any]) -> Any:
        """The points of a line that stays level between its moves; of one that moves at each step, as they are."""
        if self.every == 1 or not points:
            return tuple(points)
        ends = [*(point[0] for point in points[1:]), float(self.end)]
        return tuple(p for point, end in zip(points, ends, strict=True) for p in (point, (end, *point[1:])))


def curve(run: RunReport, *, total: int | None = None, factor: Factor | None = None) -> Curve:
    """What there is to draw of a run.

    `total` is its length in steps and `factor` the function of a LambdaLR, where its trainer knows them.
    """
    files = [file for file in run.files if file.plan is not None]
    unit, places = placed(files)
    known = run.run.facts.steps_per_epoch
    length = known.value if known is not None else None
    found = Curve(run.run.path, unit, (), recorded(files, places), places, steps_per_epoch=length)
    stride = _stride(files, places, length)
    source = next((file for file in _furthest(files, places) if _schedule(file)), None)
    if stride is None or source is None:
        return found
    state, groups = _schedule(source), param_groups(source.member)

    def right(course: Course) -> Sequence[float | None] | None:
        return along(state, groups, [stride.position(place) for place in course], factor)

    def own(file: FileReport, course: Course) -> Sequence[float | None] | None:
        begun = file.member.state.last_epoch or 0
        moved = [begun + stride.position(place) - stride.position(course[0]) for place in course]
        return along(_schedule(file), param_groups(file.member), moved, factor, begun=begun)

    end = total or _end(run, state, stride, unit, max(places.values(), default=0.0))
    line = RateLine(stride.every, end, right, own)
    return with_departures(found, files, line) if fits(files, places, right) else found


def with_departures(found: Curve, files: Sequence[FileReport], line: RateLine) -> Curve:
    """A curve with the whole line, and the resumes that depart from it."""
    whole = line.course(0.0)
    starts = ((file, found.starts(file)[0]) for file in _furthest(files, found.places) if _may_depart(file))
    courses = [(file, line.course(start)) for file, start in starts if start is not None and start < line.end]
    del courses[MOST_DEPARTURES:]
    places = sorted({*whole, *(place for _, course in courses for place in course)})
    rates = line.right(places)  # at once, for the way to each may lead over all before it
    right = {place: rate for place, rate in zip(places, rates or (), strict=False) if rate is not None}
    points = [(place, right[place]) for place in whole if place in right]
    if not points:
        return found
    departures = []
    for file, course in courses:
        pairs = zip(course, line.own(file, course) or (), strict=False)
        apart = [(place, own, right[place]) for place, own in pairs if own is not None and place in right]
        if not all(holds_rate(own, rate) for _, own, rate in apart):
            departures.append(Departure(file.checkpoint.path, line.stairs(apart)))
    return replace(found, rates=line.stairs(points), departures=tuple(departures))


def _may_depart(file: FileReport) -> bool:
    """Whether a resume from the file as it is can have other rates: by its own, its schedule, or a missing flag."""
    plan, due = file.plan, file.resume_point
    if plan is None:
        return False
    starts_apart = due.lr and plan.next_lr is not None and not holds_rate(plan.next_lr, due.lr[0])
    return bool(plan.flags or starts_apart) or due.last_epoch not in (None, file.member.state.last_epoch)


def placed(files: Sequence[FileReport]) -> tuple[Literal["step", "epoch"], Mapping[Path, float]]:
    """Where in the run each file was saved, by the measure that most of them have."""
    measures: tuple[tuple[Literal["step", "epoch"], Callable[[FileReport], int | None]], ...] = (
        ("step", lambda file: file.member.state.global_step if (s := file.resume_point.global_step) is None else s),
        ("step", lambda file: file.member.state.optimizer_step),
        ("epoch", lambda file: file.resume_point.finished_epochs),
        ("epoch", lambda file: file.member.state.epoch),
    )
    found = [
        (unit, {f.checkpoint.path: float(at) for f in files if (at := measure(f)) is not None and 0 <= at < FURTHEST})
        for unit, measure in measures
    ]
    return max(found, key=lambda one: len(one[1]))


def recorded(files: Sequence[FileReport], places: Mapping[Path, float]) -> Points:
    """The rate that the uninterrupted run has where each file was saved; where that is open, the file's own."""
    rates = [(f.checkpoint.path, f.resume_point.lr[0] if f.resume_point.lr else f.member.state.lr) for f in files]
    return tuple(sorted((places[path], rate) for path, rate in rates if rate is not None and path in places))


def fits(files: Sequence[FileReport], places: Mapping[Path, float], right: Rates) -> bool:
    """Whether a line goes through every resume point whose rate is known, and through one at least."""
    known = sorted(
        (places[f.checkpoint.path], f.resume_point.lr[0])
        for f in files
        if f.resume_point.lr and f.checkpoint.path in places
    )
    rates = right([place for place, _ in known]) or ()
    pairs = zip(known, rates, strict=False)
    return bool(rates) and all(rate is not None and holds_rate(rate, expected) for (_, expected), rate in pairs)


def _stride(files: Sequence[FileReport], places: Mapping[Path, float], length: int | None) -> Stride | None:
    """The stride at which the schedule's positions of all resume points follow from their places; None without one."""
    known = [(f.checkpoint.path, f.resume_point.last_epoch) for f in files]
    pairs = [(places[path], last) for path, last in known if last is not None and path in places]
    place, last = max(pairs, default=(0.0, 0))
    if not last or not place:
        return None
    apart = int(place) // last
    strides = (Stride(1, last // int(place) or 1), *(Stride(every) for every in (length, apart) if every))
    return next((stride for stride in strides if all(stride.position(place) == last for place, last in pairs)), None)


def _end(run: RunReport, state: Mapping[Any, Any], stride: Stride, unit: str, furthest: float) -> int:
    """Steps of the whole run: by its command, by its schedule, else a little more than are known."""
    facts = run.run.facts
    epochs, length = facts.train_epochs, facts.steps_per_epoch
    if epochs is not None and unit == "epoch":
        return epochs.value
    if epochs is not None and length is not None:
        return epochs.value * length.value
    total = real(state.get("total_steps", state.get("T_max")))
    if total is not None and furthest * stride.times / stride.every < total < FURTHEST:
        return max(1, int(total) * stride.every // stride.times)
    return math.ceil(furthest * BEYOND / stride.every) * stride.every + stride.every


def _furthest(files: Sequence[FileReport], places: Mapping[Path, float]) -> list[FileReport]:
    return sorted(files, key=lambda file: places.get(file.checkpoint.path, -1.0), reverse=True)


def _schedule(file: FileReport) -> Mapping[Any, Any]:
    return mapping_of(file.member.at("scheduler")) or {}
