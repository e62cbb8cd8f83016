"""Which validations lead up to a checkpoint, through all resumes, and what EarlyStopping knew after them.

A log that holds kills and resumes tells more epochs than training went through: what a killed attempt did after the
checkpoint that the next one loaded is on no path to a later file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ckpt_doctor.trainers.time_llm.attempts import Attempt, EpochLog
from ckpt_doctor.trainers.time_llm.early_stopping import BLIND, counted, improved, improves
from ckpt_doctor.types import LOG_PRECISION, EarlyStoppingState, same_score

MOST_RESUMES = 1_000
"""Resumes on one way that are followed; more are in no log that a trainer wrote."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of one attempt that lies on the way to a checkpoint."""

    attempt: Attempt
    epochs: tuple[EpochLog, ...]
    """Validations that an uninterrupted run makes here."""


@dataclass(frozen=True)
class Lineage:
    """The way to a checkpoint."""

    stretches: tuple[Stretch, ...]
    """Oldest first."""
    states: tuple[EarlyStoppingState, ...]
    """The uninterrupted run's EarlyStopping after each of `epochs`."""
    uninterrupted: EarlyStoppingState
    """After the last: what the file should hold. A resume without a restore does not reset it."""
    actual: EarlyStoppingState
    """What the trainer had in memory: begun anew at each resume that restored nothing."""
    missing: tuple[int, ...] = ()
    """Epochs (1-based) on the way without a validation: the trainer skipped it, or its line is lost."""
    repeated: tuple[int, ...] = ()
    """Epochs that were validated twice on the way, as after a resume from a file with a wrong `epoch`."""
    ties: tuple[int, ...] = ()
    """Epochs whose 7 decimals leave open whether they improved; taken as improvements, as the trainer takes equals."""
    conflicts: tuple[str, ...] = ()
    """Lines of the log that contradict the replay, one sentence each."""

    @property
    def epochs(self) -> tuple[EpochLog, ...]:
        """All validations on the way, oldest first."""
        return tuple(epoch for stretch in self.stretches for epoch in stretch.epochs)

    @property
    def source(self) -> str:
        """For reports: the log and the lines that the state comes from."""
        named = [(s.attempt, [e.result.line for e in s.epochs]) for s in self.stretches if s.epochs]
        if not named:
            return self.stretches[-1].attempt.where if self.stretches else ""
        texts = []
        for log in dict.fromkeys(attempt.log for attempt, _ in named):
            lines = [line for attempt, of_it in named if attempt.log == log for line in of_it]
            shown = ", ".join(map(str, lines)) if len(lines) <= 6 else f"{lines[0]} to {lines[-1]}"
            texts.append(f"{log.name if log else 'log'}, Vali Loss of line{'s' if len(lines) > 1 else ''} {shown}")
        return "; ".join(texts)


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Why the log does not tell, in a sentence, and what would."""

    reason: str
    settle: str = "--log"


def lineage(
    attempts: Sequence[Attempt], run: str, *, global_step: int, finished_epochs: int, best: bool = False
) -> Lineage | Unsettled:
    """The way to the moment in which `finished_epochs` validations are done, through the checkpoint of `global_step`.

    `attempts` in the order of time, those of runs that this one was resumed from included; `run` is the run folder's
    name. `best`: the file is EarlyStopping's `checkpoint`, for which no line says when it was saved.

    For a step checkpoint exactly at an epoch's end, saved before that epoch's validation, `finished_epochs` may count
    that epoch: its line is looked for behind the save.
    """
    own = [attempt for attempt in attempts if attempt.run == run]
    if not own:
        return Unsettled("no part of the log belongs to this run")
    found = _best_at(own, global_step, finished_epochs) if best else _step_at(own, global_step, finished_epochs)
    return found if isinstance(found, Unsettled) else lineage_to(attempts, found, finished_epochs)


def last_best(attempts: Sequence[Attempt], run: str) -> Lineage | Unsettled:
    """The way to the last improvement in the log: what `checkpoint` holds when nothing in the file says it (legacy).

    Later improvements whose lines a kill took are possible where the last attempt is `open`.
    """
    for attempt in reversed([a for a in attempts if a.run == run]):
        saved = saved_epochs(attempt)
        if saved:
            return lineage_to(attempts, attempt, saved[-1])
    return Unsettled("the log holds no validation of this run")


def lineage_to(attempts: Sequence[Attempt], attempt: Attempt, finished_epochs: int) -> Lineage | Unsettled:
    """The way to the end of an epoch of an attempt."""
    way = _way_to(attempts, attempt, finished_epochs)
    if isinstance(way, Unsettled):
        return way
    found = _replayed(way, finished_epochs)
    if finished_epochs in found.missing and not (attempt.epochs and attempt.epochs[-1].epoch > finished_epochs):
        return Unsettled(f"the log ends before the validation of epoch {finished_epochs} ({attempt.where})")
    return found


def saved_epochs(attempt: Attempt) -> list[int]:
    """Epochs (1-based) of an attempt after which the trainer overwrote `checkpoint`."""
    state = _start(attempt)
    saved = []
    for epoch in attempt.epochs:
        if _improved(state, epoch):
            saved.append(epoch.epoch)
        state = _after(state, epoch)
    return saved


# --- where a file was saved ------------------------------------------------------------------------------------------


def _step_at(own: Sequence[Attempt], step: int, finished_epochs: int) -> Attempt | Unsettled:
    """The last attempt that saved the step, else the one whose lost lines must have said so."""
    for attempt in reversed(own):
        if any(save.step == step for save in attempt.saves):
            return attempt
    cut = [a for a in own if a.end == "open" and a.first_step < step and a.last_step < step]
    reached = [a for a in cut if (a.epochs[-1].epoch if a.epochs else (a.first_epoch or 1) - 1) >= finished_epochs]
    if len(reached) == 1 or (reached and reached[-1] is own[-1]):
        return reached[-1]
    if not reached and cut:
        return Unsettled(f"the log ends before epoch {finished_epochs} was validated ({cut[-1].where})")
    return Unsettled(f"step {step:,} was saved by none of the log's attempts, or by one of several whose end is lost")


def _best_at(own: Sequence[Attempt], step: int, finished_epochs: int) -> Attempt | Unsettled:
    """The last attempt that validated the epoch with this step count between its saves."""
    for attempt in reversed(own):
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


def saved_again(attempts: Sequence[Attempt], run: str, step: int) -> Attempt | None:
    """A later attempt that may have saved a step once more: it began before it, and the end of its log is lost."""
    own = [attempt for attempt in attempts if attempt.run == run]
    last = max((i for i, attempt in enumerate(own) if any(save.step == step for save in attempt.saves)), default=None)
    later = own[last + 1 :] if last is not None else []
    return next((a for a in later if a.end == "open" and a.start == "resumed" and a.first_step < step), None)


# --- the way there ---------------------------------------------------------------------------------------------------


def _way_to(attempts: Sequence[Attempt], attempt: Attempt, finished_epochs: int) -> list[Stretch] | Unsettled:
    """The stretches that lead to the end of an epoch of an attempt, oldest first."""
    way = [_up_to(attempt, finished_epochs)]
    while way[0].attempt.start != "fresh":
        here = way[0].attempt
        if here.start == "unknown":
            return Unsettled(f"the beginning of {here.where} is missing")
        if here.resumed is not None and here.resumed.global_step == 0:
            break
        parent = _parent(attempts[: _index(attempts, here)], here) if len(way) < MOST_RESUMES else None
        if parent is None:
            if here.restored is not None:
                break  # what it restored says all that came before
            step = f" at step {here.resumed.global_step:,}" if here.resumed else ""
            return Unsettled(f"what came before the resume{step} ({here.where}) is not in the log")
        way.insert(0, parent)
    return way


def _index(attempts: Sequence[Attempt], attempt: Attempt) -> int:
    return next(i for i, other in enumerate(attempts) if other is attempt)


def _parent(earlier: Sequence[Attempt], here: Attempt) -> Stretch | None:
    """The attempt that saved what `here` loaded, up to that save."""
    own = [attempt for attempt in earlier if attempt.run == (here.loaded_from or here.run)]
    begun = _finished_before(here)
    if here.loaded_step is not None:
        for attempt in reversed(own):
            for save in attempt.saves:
                if save.step == here.loaded_step:
                    before = [e.epoch for e in attempt.epochs if e.result.line < save.line]
                    return _up_to(attempt, max(begun, before[-1] if before else 0))
        finished = here.resumed.epoch if here.resumed else begun
        lost = _step_at(own, here.loaded_step, finished) if own else None
        return _up_to(lost, max(begun, finished)) if isinstance(lost, Attempt) else None
    for attempt in reversed(own):
        saved = saved_epochs(attempt)
        if not saved:
            continue
        best = next(e for e in reversed(attempt.epochs) if e.epoch == saved[-1])
        if here.resumed is not None and not _between_saves(attempt, best, here.resumed.global_step):
            return None  # a later best file was saved than the log shows
        return _up_to(attempt, best.epoch)
    return None


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


def _start(attempt: Attempt) -> EarlyStoppingState:
    """What the trainer's EarlyStopping held when the attempt began."""
    if attempt.restored is None:
        return BLIND
    return EarlyStoppingState(attempt.restored.best_score, attempt.restored.val_loss_min, attempt.restored.counter)


def _improved(state: EarlyStoppingState, epoch: EpochLog) -> bool:
    """Whether the epoch improved on the state; the log's own line decides where 7 decimals cannot."""
    return (epoch.counter is None) if _is_tie(state, epoch) else improves(state, epoch.result.vali_loss)


def _is_tie(state: EarlyStoppingState, epoch: EpochLog) -> bool:
    return state.best_score is not None and abs(epoch.result.vali_loss + state.best_score) <= LOG_PRECISION


def _after(state: EarlyStoppingState, epoch: EpochLog) -> EarlyStoppingState:
    return improved(epoch.result.vali_loss) if _improved(state, epoch) else counted(state)


def _replayed(way: Sequence[Stretch], finished_epochs: int) -> Lineage:
    states: list[EarlyStoppingState] = []
    ties: list[int] = []
    conflicts: list[str] = []
    true = BLIND
    actual = BLIND
    for i, stretch in enumerate(way):
        actual = _start(stretch.attempt)
        if i == 0 and stretch.attempt.start != "fresh":
            true = actual
        elif stretch.attempt.restored is not None and _same(true, actual):
            true = actual  # the same numbers with all their digits
        for epoch in stretch.epochs:
            doubtful = _is_tie(true, epoch) and not (epoch.settled and _same(true, actual))
            ties += [epoch.epoch] if doubtful else []
            conflicts += _conflicts(actual, epoch)
            true, actual = _after(true, epoch), _after(actual, epoch)
            states.append(true)
    numbers = [epoch.epoch for stretch in way for epoch in stretch.epochs]
    first = 1 if way[0].attempt.start == "fresh" else _finished_before(way[0].attempt) + 1
    missing = tuple(n for n in range(first, finished_epochs + 1) if n not in numbers)
    repeated = tuple(sorted({n for n in numbers if numbers.count(n) > 1}))
    return Lineage(tuple(way), tuple(states), true, actual, missing, repeated, tuple(ties), tuple(conflicts))


def _conflicts(state: EarlyStoppingState, epoch: EpochLog) -> Iterator[str]:
    """What the lines behind an epoch's result say against the replay of the trainer's own state."""
    if epoch.counter is None and epoch.decreased is None:
        return
    expected = _after(state, epoch)
    where = f"epoch {epoch.epoch} (line {epoch.result.line})"
    if epoch.counter is not None and expected.counter != epoch.counter.count:
        yield f"{where}: the log counts {epoch.counter.count}, its losses give {expected.counter}"
    if epoch.decreased is not None and expected.counter != 0:
        yield f"{where}: the log says that the loss decreased, its losses say that it did not"


def _same(a: EarlyStoppingState, b: EarlyStoppingState) -> bool:
    """Whether two states differ by no more than the log's rounding."""
    return same_score(a.best_score, b.best_score) and a.counter == b.counter
