"""What a run's part of the log says of the training command, each fact with the line that says it."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import TypeVar

from ckpt_doctor.trainers.time_llm.attempts import Attempt, EpochLog
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.trainers.time_llm.modes import IDLE, MODES, PER_EPOCH, PER_STEP, adjust_learning_rate
from ckpt_doctor.types import Evidence
from ckpt_doctor.types.record import record


@record(frozen=True)
class LogFacts:
    """What the run's part of the log says of the training command."""

    path: Path
    real_steps: Evidence[int] | None = None
    """Batches that one process trains in an epoch (tqdm's last count)."""
    steps_per_epoch: Evidence[int] | None = None
    """`len(train_loader)`, as a resume on one process printed it."""
    skips: tuple[tuple[int, int], ...] = ()
    """Of each resume: `global_step`, and the batches that it skipped (`global_step % len(train_loader)`)."""
    lradj_candidates: tuple[str, ...] | None = None
    """Modes that the printed rates allow; None when they say nothing."""
    first_rate: Evidence[float] | None = None
    """What a fresh launch set after its first epoch."""
    patience: Evidence[int] | None = None
    epochs_begun: int = 0
    """As far as the log goes."""
    resumed: bool = True
    """Whether an attempt in it resumed, or began before it does. False: all of them started fresh."""
    restores: bool = False
    """The log has a `Restored EarlyStopping` line: a complete trainer has resumed."""
    arguments: TimeLLMFacts = field(default_factory=TimeLLMFacts)
    """Facts that a printed command line or argument list gives."""


T = TypeVar("T")


def log_facts(attempts: Sequence[Attempt]) -> LogFacts | None:
    """The facts in the attempts of one run; None when they come from no file."""
    log = next((attempt.log for attempt in reversed(attempts) if attempt.log), None)
    if log is None:
        return None
    return LogFacts(
        path=log,
        real_steps=_real_steps(attempts),
        steps_per_epoch=_steps_per_epoch(attempts),
        skips=tuple(_skips(attempts)),
        lradj_candidates=lradj_candidates(attempts),
        first_rate=_first_rate(attempts),
        patience=_patience(attempts),
        epochs_begun=max((e for a in attempts for e in (*a.furthest, *(epoch.epoch for epoch in a.epochs))), default=0),
        resumed=any(attempt.start != "fresh" for attempt in attempts),
        restores=any(attempt.restored for attempt in attempts),
        arguments=TimeLLMFacts(
            train_epochs=_printed(attempts, "train_epochs", int) or _train_epochs(attempts),
            lradj=_printed(attempts, "lradj", _mode),
            learning_rate=_printed(attempts, "learning_rate", float),
            pct_start=_printed(attempts, "pct_start", float),
        ),
    )


# --- lengths ---------------------------------------------------------------------------------------------------------


def _real_steps(attempts: Sequence[Attempt]) -> Evidence[int] | None:
    """Batches per epoch of one process: the count of the bar that was closed before `Epoch: 1 cost time`.

    stdout and stderr mix as they are flushed, so the bar before the line need not be the epoch's own: all must agree,
    and no iteration and no step of an uninterrupted attempt may contradict.
    """
    lengths = [(attempt, epoch, bar) for attempt in attempts for epoch, bar in attempt.lengths]
    counts = {bar.count for _, _, bar in lengths}
    if len(counts) != 1:
        return None
    attempt, epoch, bar = lengths[0]
    if bar.count < 1 or not all(_holds_length(a, bar.count) for a in attempts):
        return None
    return Evidence(bar.count, f"{_place(attempt, bar.line)}: tqdm counted {bar.count:,} batches in epoch {epoch}")


def _holds_length(attempt: Attempt, length: int) -> bool:
    """Whether the attempt's iterations and, where it began at step 0, its saved steps fit epochs of this length."""
    if any(iteration > length for iteration in attempt.furthest.values()):
        return False
    if attempt.start != "fresh":
        return True
    results = [epoch.result.line for epoch in attempt.epochs]
    for save in attempt.saves:
        done = bisect_left(results, save.line)
        if not done * length < save.step <= (done + 1) * length:
            return False
    return True


def _steps_per_epoch(attempts: Sequence[Attempt]) -> Evidence[int] | None:
    """`len(train_loader)` from `global_step = epoch * train_steps + skipped batches`, which holds on one process."""
    found = []
    for attempt in attempts:
        resumed, skip = attempt.resumed, attempt.skip
        if resumed is None or skip is None or skip.epoch < 1:
            continue
        length, rest = divmod(resumed.global_step - skip.batches, skip.epoch)
        if rest == 0 and length > skip.batches:
            skipped = f"step {resumed.global_step:,} skips {skip.batches:,} batches of epoch {skip.epoch}"
            source = f"{_place(attempt, skip.line)}: {skipped}"
            found.append(Evidence(length, source))
    return _agreed(found)


def _skips(attempts: Sequence[Attempt]) -> Iterator[tuple[int, int]]:
    """As `LogFacts.skips`, less where the complete trainer skips nothing: `epoch` may be ahead."""
    for attempt in attempts:
        if attempt.resumed is None or attempt.resumed.global_step == 0:
            continue
        if attempt.skip is not None:
            yield attempt.resumed.global_step, attempt.skip.batches
        elif attempt.restored is None and attempt.first_epoch is not None:
            yield attempt.resumed.global_step, 0


def _train_epochs(attempts: Sequence[Attempt]) -> Evidence[int] | None:
    """The last epoch of an attempt that went to its end without early stopping."""
    for attempt in reversed(attempts):
        if attempt.end == "finished" and attempt.epochs:
            last = attempt.epochs[-1]
            return Evidence(last.epoch, f"{_place(attempt, last.result.line)}: training ended after epoch {last.epoch}")
    return None


# --- EarlyStopping ---------------------------------------------------------------------------------------------------


def _patience(attempts: Sequence[Attempt]) -> Evidence[int] | None:
    """From `EarlyStopping counter: 1 out of 10`; the last attempt's, for each launch can have its own."""
    printed = _printed(attempts, "patience", int)
    for attempt in reversed(attempts):
        for epoch in reversed(attempt.epochs):
            if epoch.counter is not None:
                counter = epoch.counter
                source = f"{_place(attempt, counter.line)}: counter {counter.count} out of {counter.patience}"
                return Evidence(counter.patience, source)
    return printed


# --- rates -----------------------------------------------------------------------------------------------------------


def lradj_candidates(attempts: Sequence[Attempt]) -> tuple[str, ...] | None:
    """The modes that the printed rates allow; None when no epoch's lines are complete, or none of the modes fits.

    After an epoch TST prints `Updating learning rate to`, COS `lr =`, and the idle modes `Updating ...` where they set
    a rate and, after the first epoch, `lr =` before it (source: the end of the epoch loop in `run_main.py`). The rates
    of one launch then are one base times the mode's factor; a resume may bring another base.
    """
    # `Updating ...` is the last of an epoch's lines about the rate, in every mode that prints it.
    complete = [(a, [epoch for epoch in a.epochs if epoch.rates_complete or epoch.updating]) for a in attempts]
    complete = [(attempt, epochs) for attempt, epochs in complete if epochs]
    if not complete:
        return None
    possible = [mode for mode in MODES if all(_fits(mode, epochs) for _, epochs in complete)]
    if PER_STEP in possible and any(
        _falls_by(mode, epochs) for mode in IDLE if mode in possible for _, epochs in complete
    ):
        possible.remove(PER_STEP)
    return tuple(possible) or None


def _first_rate(attempts: Sequence[Attempt]) -> Evidence[float] | None:
    return _agreed(
        [
            Evidence(epoch.updating.rate, f"{_place(attempt, epoch.updating.line)}: the rate after the first epoch")
            for attempt in attempts
            if attempt.start == "fresh"
            for epoch in attempt.epochs[:1]
            if epoch.epoch == 1 and epoch.updating
        ]
    )


def _fits(mode: str, epochs: Sequence[EpochLog]) -> bool:
    if mode == PER_STEP:
        return all(epoch.updating and not epoch.lr for epoch in epochs)
    if mode == PER_EPOCH:
        return all(epoch.lr and not epoch.updating for epoch in epochs)
    for epoch in epochs:
        sets = adjust_learning_rate(mode, 1.0, epoch.epoch) is not None
        if bool(epoch.lr) != (epoch.epoch == 1) or bool(epoch.updating) != sets:
            return False
    if mode == "type2":
        return all(e.updating is None or e.updating.rate == adjust_learning_rate(mode, 1.0, e.epoch) for e in epochs)
    bases = _bases(mode, epochs)
    first = epochs[0].lr
    return all(math.isclose(base, bases[0], rel_tol=1e-9) for base in bases) and (
        first is None or not bases or math.isclose(bases[0], first.rate, rel_tol=1e-9, abs_tol=0.6e-10)
    )


def _bases(mode: str, epochs: Sequence[EpochLog]) -> list[float]:
    """The base rate that each printed rate implies; what has underflowed implies none."""
    factors = [(e.updating.rate, adjust_learning_rate(mode, 1.0, e.epoch)) for e in epochs if e.updating]
    return [rate / factor for rate, factor in factors if factor]


def _falls_by(mode: str, epochs: Sequence[EpochLog]) -> bool:
    """Whether rates that differ follow the mode's factors, which OneCycleLR's do not by chance."""
    rates = {epoch.updating.rate for epoch in epochs if epoch.updating}
    return len(rates) > 1 and _fits(mode, epochs)


# --- printed arguments -----------------------------------------------------------------------------------------------


def _printed(attempts: Iterable[Attempt], name: str, convert: Callable[[str], T]) -> Evidence[T] | None:
    """An argument that a command line or `Namespace(...)` in the log gives; None where launches differ in it."""
    found = []
    for attempt in attempts:
        if name in attempt.arguments:
            try:
                value = convert(attempt.arguments[name])
            except ValueError:
                continue
            found.append(Evidence(value, f"{_place(attempt, attempt.first_line)}: {name} {attempt.arguments[name]}"))
    return _agreed(found)


def _mode(text: str) -> str:
    if text not in MODES:
        raise ValueError(text)
    return text


def _agreed(found: Sequence[Evidence[T]]) -> Evidence[T] | None:
    return found[-1] if found and all(other.value == found[0].value for other in found) else None


def _place(attempt: Attempt, line: int) -> str:
    name = Path(attempt.log).name if attempt.log else "log"
    return f"{name}, line {line}"
