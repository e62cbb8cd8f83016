"""The attempts in a log: each launch of the trainer is one, and `tee -a` puts any number of them into one file.

An attempt begins where the log says so (a checkpoint is loaded, a command is echoed) or where what follows cannot
continue what was: an epoch or a step that is not beyond the last one, another run's folder, anything after the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from ckpt_doctor.trainers.shared_folders import number_behind
from ckpt_doctor.trainers.time_llm.events import (
    Arguments,
    Bar,
    Counter,
    Decreased,
    EpochCost,
    EpochResult,
    Event,
    Finished,
    Iterations,
    LearningRate,
    Loading,
    Restored,
    Resumed,
    StepSaved,
    Stopped,
    Updating,
    WillSkip,
)
from ckpt_doctor.trainers.time_llm.layout import STEP_FOLDER
from ckpt_doctor.types.record import record


@record(frozen=True)
class EpochLog:
    """What the log says of one finished epoch."""

    result: EpochResult
    counter: Counter | None = None
    decreased: Decreased | None = None
    lr: LearningRate | None = None
    updating: Updating | None = None
    settled: bool = False
    """Something was printed after EarlyStopping was called, so a line of its own would stand here."""
    rates_complete: bool = False
    """The attempt went on (or ended) after the rate was set, so all lines about it stand here."""

    @property
    def epoch(self) -> int:
        """1-based."""
        return self.result.epoch


@record(frozen=True)
class Attempt:
    """One launch of the trainer, as far as the log goes."""

    log: Path | None
    first_line: int
    last_line: int
    start: Literal["fresh", "resumed", "unknown"]
    """`unknown`: it begins in a later epoch, and no resume is in the log (its head is missing)."""
    run: str
    """Name of the run folder that it saves in, else of the one that it loaded from; empty when no line names one."""
    loaded: Loading | None = None
    resumed: Resumed | None = None
    restored: Restored | None = None
    skip: WillSkip | None = None
    epochs: tuple[EpochLog, ...] = ()
    saves: tuple[StepSaved, ...] = ()
    lengths: tuple[tuple[int, Bar], ...] = ()
    """Epoch (1-based) and the training bar that was closed at its end: its count is the epoch's number of batches."""
    furthest: Mapping[int, int] = field(default_factory=dict)
    """Epoch (1-based) -> the largest `iters:` printed in it."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    end: Literal["finished", "stopped", "open"] = "open"
    """`open`: killed, or still running; then lines are missing that the kill took from the buffer."""
    first_epoch: int | None = None
    """1-based epoch of the first line that names one."""

    @property
    def loaded_from(self) -> str:
        """Name of the run folder of the file that it resumed from; empty for a fresh start."""
        return run_name(self.loaded.path) if self.loaded else ""

    @property
    def loaded_step(self) -> int | None:
        """N when it resumed from `checkpoint_step_N`; None for any other file."""
        return step_in(self.loaded.path) if self.loaded else None

    @property
    def first_step(self) -> int:
        """Optimizer steps done before the attempt."""
        return self.resumed.global_step if self.resumed else 0

    @property
    def last_step(self) -> int:
        """The largest global_step that the log shows it reached."""
        return self.saves[-1].step if self.saves else self.first_step

    @property
    def where(self) -> str:
        """For messages: `train.log, lines 12 to 340`."""
        name = f"{self.log.name}, " if self.log else ""
        return f"{name}lines {self.first_line} to {self.last_line}"


def run_name(path: str) -> str:
    """The run folder's name in the path of a checkpoint or step folder, whatever machine it was printed on."""
    parts = [part for part in re.split(r"[/\\]+", path) if part not in ("", ".")]
    for i, part in enumerate(parts):
        if number_behind(STEP_FOLDER, part) is not None:
            return parts[i - 1] if i else ""
    return parts[-2] if len(parts) > 1 else ""


def step_in(path: str) -> int | None:
    """N of the step folder in a path."""
    found = [number_behind(STEP_FOLDER, part) for part in re.split(r"[/\\]+", path)]
    return next((number for number in reversed(found) if number is not None), None)


def attempts_of(events: Iterable[Event], log: Path | None = None) -> tuple[Attempt, ...]:
    """Divide the events of one log into attempts. Those that show nothing but a closed bar are left out."""
    return tuple(_with_own_saves(list(_attempts(events, log))))


def _with_own_saves(attempts: list[Attempt]) -> list[Attempt]:
    """The attempts, with saves that stand before a fresh launch's first epoch line given to that launch.

    They follow the last epoch of what came before in the log, and nothing tells that it was killed. But a launch from
    step 0 saves at N, 2N, ...: where its other saves go on from them, they are its own.
    """
    for index, (before, launch) in enumerate(pairwise(attempts)):
        if not before.epochs or launch.start != "fresh" or not launch.saves:
            continue
        trailing = [save for save in before.saves if save.line > before.epochs[-1].result.line]
        steps = [0, *(save.step for save in trailing), launch.saves[0].step]
        gaps = {b - a for a, b in pairwise(steps)}
        same_run = {run_name(save.path) for save in (*trailing, launch.saves[0])}
        if trailing and len(gaps) == 1 and len(same_run) == 1:
            kept = before.saves[: len(before.saves) - len(trailing)]
            path = kept[-1].path if kept else before.loaded.path if before.loaded else ""
            ended = before.epochs[-1].result.line
            attempts[index] = replace(before, saves=kept, run=run_name(path), last_line=min(before.last_line, ended))
            first = min(launch.first_line, trailing[0].line)
            attempts[index + 1] = replace(launch, saves=(*trailing, *launch.saves), first_line=first)
    return attempts


def _attempts(events: Iterable[Event], log: Path | None) -> Iterator[Attempt]:
    draft = _Draft()
    before: Event | None = None
    for event in events:
        if not isinstance(event, Bar) and not _printed_again(event, before):
            if draft.excludes(event):
                yield draft.attempt(log)
                draft = _Draft()
            draft.add(event, before)
        before = event
    if draft.begun:
        yield draft.attempt(log)


def _printed_again(event: Event, before: Event | None) -> bool:
    """Whether the same line stands twice in a row, as when each of several processes prints it."""
    return type(event) is type(before) and repr(replace(event, line=0)) == repr(replace(before, line=0))


class _Draft:
    """An attempt while its lines come in."""

    def __init__(self) -> None:
        self.begun = False
        self.first_line = self.last_line = 0
        self.loaded: Loading | None = None
        self.resumed: Resumed | None = None
        self.restored: Restored | None = None
        self.skip: WillSkip | None = None
        self.epochs: list[EpochLog] = []
        self.saves: list[StepSaved] = []
        self.lengths: list[tuple[int, Bar]] = []
        self.furthest: dict[int, int] = {}
        self.most_batches = 0
        """The largest of `furthest`."""
        self.arguments: dict[str, str] = {}
        self.end: Literal["finished", "stopped", "open"] = "open"
        self.position: tuple[int, int, int] | None = None
        self.first_epoch: int | None = None

    def excludes(self, event: Event) -> bool:
        """Whether the event cannot belong to the same launch as what came before it."""
        progress = self.position is not None or bool(self.saves) or self.end != "open"
        match event:
            case Arguments() | Loading():
                return progress or self.loaded is not None or self.resumed is not None
            case Resumed():
                return progress or self.resumed is not None
            case Restored() | WillSkip():
                return progress
            case Finished():
                return self.end == "finished"
            case Stopped():
                return self.end != "open"
            case StepSaved():
                other_run = bool(self.saves) and run_name(self.saves[-1].path) != run_name(event.path)
                return self.end != "open" or other_run or event.step <= self._reached()
            case EpochCost() | EpochResult() | Iterations():
                return self.end != "open" or (self.position is not None and _position(event) <= self.position)
        return False

    def _reached(self) -> int:
        """The global_step that the attempt has certainly behind it: of its last save, and of the epochs it finished."""
        whole = len(self.epochs) - (1 if self.resumed or self.loaded else 0)  # the first may have begun in its middle
        begun = self.resumed.global_step if self.resumed else 0
        return max(self.saves[-1].step if self.saves else 0, begun + max(whole, 0) * self.most_batches)

    def add(self, event: Event, before: Event | None) -> None:
        """Take the event in; `before` is the one before it in the log."""
        if not self.begun:
            self.begun, self.first_line = True, event.line
        self.last_line = event.line
        match event:
            case Arguments():
                self.arguments |= event.values
            case Loading():
                self.loaded = event
            case Resumed():
                self.resumed = event
            case Restored():
                self.restored = event
            case WillSkip():
                self.skip = event
            case Stopped():
                self._about_last_epoch()
                self.end = "stopped"
            case Finished():
                self._about_last_epoch(rates_complete=self.end == "open")
                self.end = "finished" if self.end == "open" else self.end
            case Counter():
                self._about_last_epoch(counter=event)
            case Decreased():
                self._about_last_epoch(decreased=event)
            case LearningRate():
                self._about_last_epoch(lr=event)
            case Updating():
                self._about_last_epoch(updating=event)
            case StepSaved():
                self._about_last_epoch(rates_complete=True)
                self.saves.append(event)
            case EpochCost() | EpochResult() | Iterations():
                self._advance(event, before)

    def _advance(self, event: EpochCost | EpochResult | Iterations, before: Event | None) -> None:
        self._about_last_epoch(rates_complete=True)
        self.position = _position(event)
        if self.first_epoch is None:
            self.first_epoch = event.epoch
        if isinstance(event, EpochResult):
            self.epochs.append(EpochLog(event))
        elif isinstance(event, Iterations):
            self.furthest[event.epoch] = event.iteration
            self.most_batches = max(self.most_batches, event.iteration)
        elif isinstance(before, Bar):
            self.lengths.append((event.epoch, before))

    def _about_last_epoch(self, *, rates_complete: bool = False, **said: Any) -> None:
        """Add what a line says about the last finished epoch, until the next one is under way; of each kind the first.

        `said`: the event under the name of its field.
        """
        if self.epochs and not self.epochs[-1].rates_complete:
            last = self.epochs[-1]
            first = {name: event for name, event in said.items() if getattr(last, name) is None}
            self.epochs[-1] = replace(last, settled=True, rates_complete=rates_complete, **first)

    def attempt(self, log: Path | None) -> Attempt:
        """The attempt as it stands."""
        start: Literal["fresh", "resumed", "unknown"] = "fresh"
        if self.loaded or self.resumed or self.restored or self.skip:
            start = "resumed"
        elif self.first_epoch is not None and self.first_epoch > 1:
            start = "unknown"
        path = self.saves[-1].path if self.saves else self.loaded.path if self.loaded else ""
        return Attempt(
            log,
            self.first_line,
            self.last_line,
            start,
            run_name(path),
            self.loaded,
            self.resumed,
            self.restored,
            self.skip,
            tuple(self.epochs),
            tuple(self.saves),
            tuple(self.lengths),
            self.furthest,
            self.arguments,
            self.end,
            self.first_epoch,
        )


def _position(event: EpochCost | EpochResult | Iterations) -> tuple[int, int, int]:
    """Order of the lines within a launch: iterations, then the epoch's cost, then its result."""
    if isinstance(event, Iterations):
        return (event.epoch, 0, event.iteration)
    return (event.epoch, 1 if isinstance(event, EpochCost) else 2, 0)
