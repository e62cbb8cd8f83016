"""Which validations lead up to a checkpoint, through all resumes, and what EarlyStopping knew after them.

A log that holds kills and resumes tells more epochs than training went through: what a killed attempt did after the
checkpoint that the next one loaded is on no path to a later file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

from ckpt_doctor.trainers.time_llm.attempts import Attempt, EpochLog
from ckpt_doctor.trainers.time_llm.early_stopping import BLIND
from ckpt_doctor.trainers.time_llm.launches import (
    Launches,
    Stretch,
    is_tie,
    saved_epochs,
    state_after,
    state_at_start,
)
from ckpt_doctor.types import EarlyStoppingState, same_score
from ckpt_doctor.types.record import record

MOST_RESUMES = 1_000
"""Resumes on one way that are followed; more are in no log that a trainer wrote."""
MOST_MISSING = 100
"""Epochs without a validation that are listed: a file can claim any number of them."""


@record(frozen=True)
class Lineage:
    """The way to a checkpoint."""

    stretches: tuple[Stretch, ...]
    """Oldest first."""
    uninterrupted: EarlyStoppingState
    """EarlyStopping as a file should hold it: a resume without a restore does not reset it."""
    actual: EarlyStoppingState
    """What the trainer had in memory: begun anew at each resume that restored nothing."""
    missing: tuple[int, ...] = ()
    """Epochs (1-based) on the way without a validation: the trainer skipped it, or its line is lost. The first ones."""
    ties: tuple[int, ...] = ()
    """Epochs whose 7 decimals leave open whether they improved; taken as improvements, as the trainer takes equals."""
    conflicts: tuple[str, ...] = ()
    """Lines of the log that contradict the replay, one sentence each."""

    @cached_property
    def epochs(self) -> tuple[EpochLog, ...]:
        """All validations on the way, oldest first."""
        return tuple(epoch for stretch in self.stretches for epoch in stretch.epochs)

    @cached_property
    def source(self) -> str:
        """For reports: the log and the lines that the state comes from."""
        named: dict[Path | None, list[int]] = defaultdict(list)
        for stretch in self.stretches:
            if stretch.epochs:
                named[stretch.attempt.log] += [epoch.result.line for epoch in stretch.epochs]
        if not named:
            return self.stretches[-1].attempt.where if self.stretches else ""
        texts = []
        for log, lines in named.items():
            shown = ", ".join(map(str, lines)) if len(lines) <= 6 else f"{lines[0]} to {lines[-1]}"
            texts.append(f"{log.name if log else 'log'}, Vali Loss of line{'s' if len(lines) > 1 else ''} {shown}")
        return "; ".join(texts)


@record(frozen=True)
class Unsettled:
    """Why the log does not tell, in a sentence."""

    reason: str


def lineage(
    launches: Launches, run: str, *, global_step: int, finished_epochs: int, best: bool = False
) -> Lineage | Unsettled:
    """The way to the moment in which `finished_epochs` validations are done, through the checkpoint of `global_step`.

    `run` is the run folder's name. `best`: the file is EarlyStopping's `checkpoint`, for which no line says when it was
    saved.

    For a step checkpoint exactly at an epoch's end, saved before that epoch's validation, `finished_epochs` may count
    that epoch: its line is looked for behind the save.
    """
    if launches.last(run) is None:
        return Unsettled("no part of the log belongs to this run")
    find = _best_at if best else _step_at
    found = find(launches, run, global_step, finished_epochs)
    return found if isinstance(found, Unsettled) else _lineage_to(launches, found, finished_epochs)


def last_best(launches: Launches, run: str) -> Lineage | Unsettled:
    """The way to the last improvement in the log: what `checkpoint` holds when nothing in the file says it (legacy).

    Later improvements whose lines a kill took are possible where the last attempt is `open`.
    """
    attempt = launches.last_that_improved(run)
    if attempt is None:
        return Unsettled("the log holds no validation of this run")
    return _lineage_to(launches, attempt, saved_epochs(attempt)[-1])


def _lineage_to(launches: Launches, attempt: Attempt, finished_epochs: int) -> Lineage | Unsettled:
    """The way to the end of an epoch of an attempt."""
    way = _way_to(launches, attempt, finished_epochs)
    if isinstance(way, Unsettled):
        return way
    found = _replayed(way, finished_epochs)
    validated = any(epoch.epoch == finished_epochs for epoch in found.epochs)
    later = attempt.epochs and attempt.epochs[-1].epoch > finished_epochs
    if found.missing and not validated and finished_epochs >= found.missing[0] and not later:
        return Unsettled(f"the log ends before the validation of epoch {finished_epochs} ({attempt.where})")
    return found


# --- where a file was saved ------------------------------------------------------------------------------------------


def _step_at(
    launches: Launches, run: str, step: int, finished_epochs: int, before: int | None = None
) -> Attempt | Unsettled:
    """The last attempt that saved the step, else the one whose lost lines must have said so."""
    if saved := launches.last_that_saved(run, step, before):
        return saved
    reached = cut = None
    for attempt, epoch in launches.cut_before(run, step, before):
        cut = cut or attempt
        if epoch < finished_epochs:
            continue
        if attempt is launches.last(run, before):
            return attempt
        if reached is not None:
            cut = None
            break
        reached = attempt
    else:
        if reached is not None:
            return reached
    if cut is not None:
        return Unsettled(f"the log ends before epoch {finished_epochs} was validated ({cut.where})")
    return Unsettled(f"step {step:,} was saved by none of the log's attempts, or by one of several whose end is lost")


def _best_at(launches: Launches, run: str, step: int, finished_epochs: int) -> Attempt | Unsettled:
    """The last attempt that validated the epoch with this step count between its saves."""
    for attempt in launches.of_run(run):
        for epoch in attempt.epochs:
            if epoch.epoch == finished_epochs and _between_saves(attempt, epoch, step):
                if finished_epochs in saved_epochs(attempt):
                    return attempt
                return Unsettled(f"epoch {finished_epochs} did not improve (line {epoch.result.line} of the log)")
    return Unsettled(f"no validation of epoch {finished_epochs} at step {step:,} is in the log")


def _between_saves(attempt: Attempt, epoch: EpochLog, step: int) -> bool:
    before = [save.step for save in attempt.saves if save.line < epoch.result.line]
    behind = [save.step for save in attempt.saves if save.line > epoch.result.line]
    return (before[-1] if before else attempt.first_step) <= step and (not behind or step < behind[0])


def saved_again(launches: Launches, run: str, step: int) -> Attempt | None:
    """A later attempt that may have saved a step once more: it began before it, and the end of its log is lost."""
    last = launches.last_that_saved(run, step)
    return launches.resumed_before(run, step, launches.place(last)) if last is not None else None


# --- the way there ---------------------------------------------------------------------------------------------------


def _way_to(launches: Launches, attempt: Attempt, finished_epochs: int) -> list[Stretch] | Unsettled:
    """The stretches that lead to the end of an epoch of an attempt, oldest first."""
    way = [_up_to(attempt, finished_epochs)]
    while way[-1].attempt.start != "fresh":
        here = way[-1].attempt
        if here.start == "unknown":
            return Unsettled(f"the beginning of {here.where} is missing")
        if here.resumed is not None and here.resumed.global_step == 0:
            break
        parent = _parent(launches, here) if len(way) < MOST_RESUMES else None
        if parent is None:
            if here.restored is not None:
                break  # what it restored says all that came before
            step = f" at step {here.resumed.global_step:,}" if here.resumed else ""
            return Unsettled(f"what came before the resume{step} ({here.where}) is not in the log")
        way.append(parent)
    return way[::-1]


def _parent(launches: Launches, here: Attempt) -> Stretch | None:
    """The attempt that saved what `here` loaded, up to that save."""
    place = launches.place(here)
    if place not in launches.parents:  # each file of a run asks for the same ones
        launches.parents[place] = _found_parent(launches, here, place)
    return launches.parents[place]


def _found_parent(launches: Launches, here: Attempt, place: int) -> Stretch | None:
    run, step, begun = here.loaded_from or here.run, here.loaded_step, _finished_before(here)
    if step is not None:
        if attempt := launches.last_that_saved(run, step, place):
            save = next(save for save in attempt.saves if save.step == step)
            before = [epoch.epoch for epoch in attempt.epochs if epoch.result.line < save.line]
            return _up_to(attempt, max(begun, before[-1] if before else 0))
        finished = here.resumed.epoch if here.resumed else begun
        lost = _step_at(launches, run, step, finished, place)
        return _up_to(lost, max(begun, finished)) if isinstance(lost, Attempt) else None
    attempt = launches.last_that_improved(run, place)
    if attempt is None:
        return None
    last = saved_epochs(attempt)[-1]
    best = next(epoch for epoch in reversed(attempt.epochs) if epoch.epoch == last)
    if here.resumed is not None and not _between_saves(attempt, best, here.resumed.global_step):
        return None  # a later best file was saved than the log shows
    return _up_to(attempt, best.epoch)


def _up_to(attempt: Attempt, epoch: int) -> Stretch:
    return Stretch(attempt, tuple(e for e in attempt.epochs if e.epoch <= epoch))


def _finished_before(attempt: Attempt) -> int:
    """Epochs that a resumed attempt takes as done: it trains none of them."""
    if attempt.skip is not None:
        return attempt.skip.epoch
    if attempt.first_epoch is not None:
        return attempt.first_epoch - 1
    return attempt.resumed.epoch if attempt.resumed else 0


# --- EarlyStopping on the way ----------------------------------------------------------------------------------------


def _replayed(way: Sequence[Stretch], finished_epochs: int) -> Lineage:
    ties: list[int] = []
    conflicts: list[str] = []
    true = actual = BLIND
    for i, stretch in enumerate(way):
        actual = state_at_start(stretch.attempt)
        if i == 0 and stretch.attempt.start != "fresh":
            true = actual
        elif stretch.attempt.restored is not None and _same(true, actual):
            true = actual  # the same numbers with all their digits
        for epoch in stretch.epochs:
            doubtful = is_tie(true, epoch) and not (epoch.settled and _same(true, actual))
            ties += [epoch.epoch] if doubtful else []
            conflicts += _conflicts(actual, epoch)
            true, actual = state_after(true, epoch), state_after(actual, epoch)
    numbers = {epoch.epoch for stretch in way for epoch in stretch.epochs}
    first = 1 if way[0].attempt.start == "fresh" else _finished_before(way[0].attempt) + 1
    missing = tuple(islice((n for n in range(first, finished_epochs + 1) if n not in numbers), MOST_MISSING))
    return Lineage(tuple(way), true, actual, missing, tuple(ties), tuple(conflicts))


def _conflicts(state: EarlyStoppingState, epoch: EpochLog) -> Iterator[str]:
    """What the lines behind an epoch's result say against the replay of the trainer's own state."""
    if epoch.counter is None and epoch.decreased is None:
        return
    expected = state_after(state, epoch)
    where = f"epoch {epoch.epoch} (line {epoch.result.line})"
    if epoch.counter is not None and expected.counter != epoch.counter.count:
        yield f"{where}: the log counts {epoch.counter.count}, its losses give {expected.counter}"
    if epoch.decreased is not None and expected.counter != 0:
        yield f"{where}: the log says that the loss decreased, its losses say that it did not"


def _same(a: EarlyStoppingState, b: EarlyStoppingState) -> bool:
    """Whether two states differ by no more than the log's rounding."""
    return same_score(a.best_score, b.best_score) and a.counter == b.counter
