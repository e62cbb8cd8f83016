"""The attempts of a history as they are looked up, so that a log of many is not searched through once for each."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate

from ckpt_doctor.trainers.time_llm.attempts import Attempt, EpochLog
from ckpt_doctor.trainers.time_llm.early_stopping import BLIND, counted, improved, improves
from ckpt_doctor.types import LOG_PRECISION, EarlyStoppingState
from ckpt_doctor.types.record import record


@record(frozen=True)
class Stretch:
    """The part of one attempt that lies on the way to a checkpoint."""

    attempt: Attempt
    epochs: tuple[EpochLog, ...]
    """Validations that an uninterrupted run makes here."""


class Launches:
    """The attempts of a run, and of the runs that it was resumed from, in the order of time."""

    def __init__(self, attempts: Iterable[Attempt]) -> None:
        self.all = tuple(attempts)
        self.parents: dict[int, Stretch | None] = {}
        """By place in `all`, as far as they were looked for."""
        self._places = {id(attempt): place for place, attempt in enumerate(self.all)}
        self._of_run: dict[str, list[int]] = defaultdict(list)
        for place, attempt in enumerate(self.all):
            self._of_run[attempt.run].append(place)

    @cached_property
    def _saved(self) -> dict[tuple[str, int], list[int]]:
        """Places by run and step."""
        found: dict[tuple[str, int], list[int]] = defaultdict(list)
        for place, attempt in enumerate(self.all):
            for save in attempt.saves:
                found[attempt.run, save.step].append(place)
        return found

    @cached_property
    def _improved(self) -> dict[str, list[int]]:
        """Places of those that overwrote `checkpoint`, by run."""
        found: dict[str, list[int]] = defaultdict(list)
        for place, attempt in enumerate(self.all):
            if saved_epochs(attempt):
                found[attempt.run].append(place)
        return found

    @cached_property
    def _cut(self) -> dict[str, list[tuple[int, int, int]]]:
        """Those whose end is lost, by run: place, the last step and the last epoch that the log shows."""
        found: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for place, attempt in enumerate(self.all):
            if attempt.end == "open":
                epoch = attempt.epochs[-1].epoch if attempt.epochs else (attempt.first_epoch or 1) - 1
                found[attempt.run].append((place, max(attempt.first_step, attempt.last_step), epoch))
        return found

    @cached_property
    def _resumed(self) -> dict[str, tuple[list[int], list[int]]]:
        """Places of those that resumed and whose end is lost, by run; the first step of the earliest from each on."""
        found: dict[str, tuple[list[int], list[int]]] = {}
        for run, places in self._of_run.items():
            own = [at for at in places if self.all[at].end == "open" and self.all[at].start == "resumed"]
            least = accumulate((self.all[at].first_step for at in reversed(own)), min)
            found[run] = own, list(least)[::-1]
        return found

    def place(self, attempt: Attempt) -> int:
        """Where an attempt stands in `all`."""
        return self._places[id(attempt)]

    def of_run(self, run: str) -> Iterator[Attempt]:
        """The attempts of a run, latest first."""
        return (self.all[place] for place in reversed(self._of_run.get(run, ())))

    def last(self, run: str, before: int | None = None) -> Attempt | None:
        """The last attempt of a run before a place."""
        return self._last(self._of_run.get(run, ()), before)

    def last_that_saved(self, run: str, step: int, before: int | None = None) -> Attempt | None:
        """The last attempt of a run, before a place, that reports a step as saved."""
        return self._last(self._saved.get((run, step), ()), before)

    def last_that_improved(self, run: str, before: int | None = None) -> Attempt | None:
        """The last attempt of a run, before a place, that overwrote `checkpoint`."""
        return self._last(self._improved.get(run, ()), before)

    def cut_before(self, run: str, step: int, before: int | None = None) -> Iterator[tuple[Attempt, int]]:
        """Those before a place whose log is cut off before a step, latest first, each with its last epoch."""
        found = self._cut.get(run, [])
        count = len(found) if before is None else bisect_left(found, (before,))
        return ((self.all[at], epoch) for at, reached, epoch in reversed(found[:count]) if reached < step)

    def resumed_before(self, run: str, step: int, after: int) -> Attempt | None:
        """The first attempt of a run, behind a place, that resumed before a step and whose end is lost."""
        places, least = self._resumed.get(run, ([], []))
        at = bisect_right(places, after)
        if at == len(places) or least[at] >= step:
            return None
        return next(self.all[place] for place in places[at:] if self.all[place].first_step < step)

    def _last(self, places: Sequence[int], before: int | None) -> Attempt | None:
        count = len(places) if before is None else bisect_left(places, before)
        return self.all[places[count - 1]] if count else None


# --- EarlyStopping in an attempt -------------------------------------------------------------------------------------


def saved_epochs(attempt: Attempt) -> list[int]:
    """Epochs (1-based) of an attempt after which the trainer overwrote `checkpoint`."""
    state = state_at_start(attempt)
    saved = []
    for epoch in attempt.epochs:
        if has_improved(state, epoch):
            saved.append(epoch.epoch)
        state = state_after(state, epoch)
    return saved


def state_at_start(attempt: Attempt) -> EarlyStoppingState:
    """What the trainer's EarlyStopping held when the attempt began."""
    if attempt.restored is None:
        return BLIND
    return EarlyStoppingState(attempt.restored.best_score, attempt.restored.val_loss_min, attempt.restored.counter)


def has_improved(state: EarlyStoppingState, epoch: EpochLog) -> bool:
    """Whether the epoch improved on the state; the log's own line decides where 7 decimals cannot."""
    return (epoch.counter is None) if is_tie(state, epoch) else improves(state, epoch.result.vali_loss)


def is_tie(state: EarlyStoppingState, epoch: EpochLog) -> bool:
    """Whether the log's 7 decimals leave open if the epoch improved on the state."""
    return state.best_score is not None and abs(epoch.result.vali_loss + state.best_score) <= LOG_PRECISION


def state_after(state: EarlyStoppingState, epoch: EpochLog) -> EarlyStoppingState:
    """EarlyStopping after the epoch's validation."""
    return improved(epoch.result.vali_loss) if has_improved(state, epoch) else counted(state)
