"""A run's history: which logs, and which attempts in them, are its own.

Decided by what stands in a log, never by its place. In this order of strength:
- paths: the save and load lines name the run's folder (its name; the machine and the folders above may be others), and
  some step on disk is accounted for;
- a log that a person names with `--log`, that names at most one other run (a folder can be renamed), and that nothing
  on disk contradicts;
- a loss that is a best_score on disk, when no line names any run (a trainer that saves no steps prints no path);
- in that case also the log's name: `train_<model comment>_<date>_<time>.log` for the only folder that ends in
  `-<model comment>`;
- nothing but that no other log is there: `confirmed` is False, no value is taken from it, and the user is asked.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path

from ckpt_doctor.trainers.time_llm.attempts import Attempt
from ckpt_doctor.trainers.time_llm.launches import Launches
from ckpt_doctor.trainers.time_llm.lineage import Lineage, Unsettled, last_best, lineage
from ckpt_doctor.trainers.time_llm.log_facts import LogFacts, log_facts
from ckpt_doctor.trainers.time_llm.log_files import ReadLog, read_log, without_copies
from ckpt_doctor.trainers.time_llm.modes import IDLE, PER_EPOCH, PER_STEP
from ckpt_doctor.trainers.time_llm.near_logs import NAME, in_order_of_time, is_too_large, logs_near, neighbours
from ckpt_doctor.types import LOG_PRECISION, EarlyStoppingState, Evidence, Member
from ckpt_doctor.types.record import record


@record(frozen=True)
class History:
    """The attempts of a run, in the order of time, and of the runs that it was resumed from."""

    run: str
    """Name of the run folder."""
    attempts: tuple[Attempt, ...]
    confirmed: bool
    """Whether something in the log, or a person, says that it is this run's."""
    reason: str
    """What makes it this run's, or what leaves it open."""
    _ways: dict[tuple[int, int, bool], Lineage | Unsettled] = field(default_factory=dict, compare=False, repr=False)
    _ends: dict[int, int | None] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def own(self) -> tuple[Attempt, ...]:
        """The run's own attempts."""
        return tuple(attempt for attempt in self.attempts if attempt.run == self.run)

    def first_unvalidated_end(self, steps_per_epoch: int) -> int | None:
        """The first epoch at whose last step a launch began and whose validation no line reports."""
        if steps_per_epoch not in self._ends:
            validated = {epoch.epoch for attempt in self.own for epoch in attempt.epochs}
            ends = (divmod(attempt.loaded_step or 0, steps_per_epoch) for attempt in self.own)
            found = (epoch for epoch, rest in ends if epoch > 0 and not rest and epoch not in validated)
            self._ends[steps_per_epoch] = min(found, default=None)
        return self._ends[steps_per_epoch]

    @cached_property
    def launches(self) -> Launches:
        """The same attempts, to be looked up."""
        return Launches(self.attempts)

    def lineage(self, *, global_step: int, finished_epochs: int, best: bool = False) -> Lineage | Unsettled:
        """The validations that lead to a checkpoint; see `lineage.lineage`."""
        if not self.confirmed:
            return Unsettled(self.reason)
        place = (global_step, finished_epochs, best)
        if place not in self._ways:  # each file of the run asks for its siblings', too
            self._ways[place] = lineage(
                self.launches, self.run, global_step=global_step, finished_epochs=finished_epochs, best=best
            )
        return self._ways[place]

    def last_best(self) -> Lineage | Unsettled:
        """The way to the last improvement; see `lineage.last_best`."""
        return last_best(self.launches, self.run) if self.confirmed else Unsettled(self.reason)

    def early_stopping(
        self, *, global_step: int, finished_epochs: int, best: bool = False
    ) -> Evidence[EarlyStoppingState] | Unsettled:
        """EarlyStopping of the uninterrupted run after so many validations, exact to 5e-8.

        Unsettled also where the log contradicts itself or a validation on the way is missing.
        """
        way = self.lineage(global_step=global_step, finished_epochs=finished_epochs, best=best)
        if isinstance(way, Unsettled):
            return way
        if way.missing:
            return Unsettled(f"epoch {way.missing[0]} was never validated on the way to this checkpoint")
        if way.ties:
            return Unsettled(f"epoch {way.ties[0]} equals the best in all 7 decimals of the log")
        if way.conflicts:
            return Unsettled(f"the log contradicts itself: {way.conflicts[0]}")
        return Evidence(way.uninterrupted, way.source)


@record(frozen=True)
class Match:
    """The attempts of a log that belong to a run; none, and why, where that is open or not so."""

    attempts: tuple[Attempt, ...]
    confirmed: bool
    reason: str
    renamed: bool = False
    """Whether the log names another folder, and is taken for this run's on a person's word."""


def match(
    attempts: Sequence[Attempt],
    run: str,
    saved_steps: Iterable[int] = (),
    best_scores: Iterable[float] = (),
    *,
    given: bool = False,
    neighbours: Iterable[str] = (),
) -> Match:
    """Which attempts, of any number of logs, are of the run whose folder has this name.

    `saved_steps`: N of its step folders on disk; `best_scores`: those that its files hold, written by the trainer.
    `given`: a person named the logs. `neighbours`: other run folders beside it. The attempts come with `run` filled in,
    and after those of runs they resumed from.

    One wrong file must not part a run from its log: steps contradict only when no single one is accounted for, and
    scores only confirm.
    """
    steps, scores = sorted(set(saved_steps)), list(best_scores)
    names: dict[Path | None, set[str]] = defaultdict(set)
    """By log. Where a log names one run, its nameless attempts are of that run, too."""
    for attempt in attempts:
        names[attempt.log] |= {attempt.run} - {""}
    named = {attempt.run for attempt in attempts if attempt.run}
    if run in named:
        own = [a for a in attempts if a.run == run or (not a.run and names[a.log] == {run})]
        doubt = _interleaved(attempts, run) or _strange_steps(own, steps)
        if doubt:
            return Match((), False, doubt)
        return Match(_with_ancestors(attempts, own, run), True, "its save and load lines name the run's folder")
    if given and len(named) == 1:
        # A folder can have been renamed, or one file copied: a person's word counts unless something speaks against it.
        doubt = _strange_steps(attempts, steps)
        if scores and not _score_in(attempts, scores) and not doubt:
            doubt = f"the log is of run {next(iter(named))}, and none of its losses is a best_score on disk"
        if doubt:
            return Match((), False, doubt)
        renamed = tuple(replace(attempt, run=run) for attempt in attempts)
        return Match(renamed, True, f"named by --log; the run folder was called {next(iter(named))} then", renamed=True)
    nameless = [attempt for attempt in attempts if not names[attempt.log]]
    if not nameless:
        others = ", ".join(sorted(named)[:3])
        return Match((), False, f"it is of another run ({others})" if named else "it holds nothing of a training")
    return _match_nameless(nameless, run, steps, scores, given, sorted(set(neighbours) - named - {run}))


def _match_nameless(
    attempts: Sequence[Attempt],
    run: str,
    steps: Sequence[int],
    scores: Sequence[float],
    given: bool,
    neighbours: Sequence[str],
) -> Match:
    """Logs without any path line: a trainer that saves no steps and did not resume prints none."""
    own = tuple(replace(attempt, run=run) for attempt in attempts)
    launches = sum(attempt.start != "resumed" for attempt in own)
    if given and launches > 1 and neighbours and not scores:
        why = f"{launches} trainings are in what --log names, and no line shows in which folder each saved"
        return Match((), False, f"{why}, and {neighbours[0]} may be one of them")
    if given:
        return Match(own, True, "named by --log, and no line names another run")
    if steps:
        return Match((), False, "the run has step checkpoints, and no log reports that any was saved")
    logs: dict[Path | None, list[Attempt]] = defaultdict(list)
    for attempt in own:
        logs[attempt.log].append(attempt)
    proven = {log for log, of_it in logs.items() if _score_in(of_it, scores)}
    if proven:
        return Match(
            tuple(a for a in own if a.log in proven), True, "a best_score of the run's files is a loss of the log"
        )
    fitting = tuple(a for a in own if a.log is not None and _comment_fits(a.log, run))
    claimed = [name for name in neighbours if fitting and _comment_fits(fitting[-1].log, name)]  # type: ignore[arg-type]
    if claimed and not scores:
        why = f"no line of {fitting[-1].log.name} says in which folder it saved"  # type: ignore[union-attr]
        return Match((), False, f"{why}, and it may be the log of {claimed[0]}, of the same model comment")
    if fitting and not scores:
        return Match(fitting, True, f"{fitting[-1].log.name} carries the run's model comment")  # type: ignore[union-attr]
    if len({a.log for a in own}) > 1:
        return Match((), False, "several logs could be this run's, and none names it")
    return Match(own, False, "no line of the log names a run folder")


def _score_in(attempts: Sequence[Attempt], scores: Sequence[float]) -> bool:
    losses = [epoch.result.vali_loss for attempt in attempts for epoch in attempt.epochs]
    losses = sorted(filter(math.isfinite, losses))
    for score in scores:
        place = bisect_left(losses, -score)
        if any(abs(loss + score) <= LOG_PRECISION for loss in losses[max(place - 1, 0) : place + 1]):
            return True
    return False


def _with_ancestors(attempts: Sequence[Attempt], own: Sequence[Attempt], run: str) -> tuple[Attempt, ...]:
    parents: dict[str, set[str]] = defaultdict(set)
    for attempt in attempts:
        parents[attempt.run] |= {attempt.loaded_from} - {""}
    runs, rest = {run}, [run]
    while rest:
        more = parents[rest.pop()] - runs
        runs |= more
        rest += more
    mine = {id(attempt) for attempt in own}
    kept = (replace(a, run=run) if id(a) in mine and not a.run else a for a in attempts)
    return tuple(attempt for attempt in kept if attempt.run in runs)


def _interleaved(attempts: Sequence[Attempt], run: str) -> str:
    """Two launches that wrote into one log at the same time: a run comes back without a start, further on."""
    last: dict[Path | None, Attempt] = {}
    last_of_run: dict[tuple[Path | None, str], Attempt] = {}
    for attempt in attempts:
        before, same = last.get(attempt.log), last_of_run.get((attempt.log, attempt.run))
        last[attempt.log] = last_of_run[attempt.log, attempt.run] = attempt
        if attempt.start == "resumed" or not attempt.saves or not attempt.run or before is None or same is None:
            continue
        other = before.run not in ("", attempt.run) and run in (attempt.run, before.run)
        if other and same.end == "open" and same.last_step < attempt.saves[0].step:
            return f"two runs wrote into the log at the same time (from line {attempt.first_line})"
    return ""


def _strange_steps(own: Sequence[Attempt], steps: Sequence[int]) -> str:
    """Whether none of the steps on disk can come from these attempts. A killed one may have saved more than it says."""
    logged = {save.step for attempt in own for save in attempt.saves}
    cut = min((attempt.last_step for attempt in own if attempt.end == "open"), default=math.inf)
    headless = max((a.first_step or a.last_step for a in own if a.start != "fresh"), default=0)
    if not steps or any(s in logged or s <= headless or cut < s for s in steps):
        return ""
    return f"the run has checkpoint_step_{steps[-1]}, and its attempts in the log saved none of the steps on disk"


def _comment_fits(log: Path, run: str) -> bool:
    name = NAME.match(log.stem)
    return bool(name) and run.lower().endswith("-" + name["comment"].lower())  # type: ignore[index]


def read_history(
    folder: Path, members: Sequence[Member], logs: Sequence[Path] = ()
) -> tuple[History | None, LogFacts | None, tuple[str, ...]]:
    """The history of a run folder, what it says of the training command, and what speaks against it.

    `logs`: those that a person named; without any, those near the folder are tried. A log that is not this run's is
    passed over in silence, unless a person named it.
    """
    read: list[ReadLog] = []
    doubts: list[str] = []
    for log in in_order_of_time(logs or logs_near(folder)):
        try:
            if logs or not is_too_large(log):
                read.append(read_log(log))
        except OSError as error:
            doubts.append(f"{log.name} could not be read: {error.strerror or error}")
    steps = [m.named_step for m in members if m.role == "step" and m.named_step is not None]
    scores = [m.state.best_score for m in members if m.state.best_score is not None and not m.checkpoint.migrations]
    name = folder.absolute().name
    kept = without_copies(read)
    beside = neighbours(folder) if kept else ()  # of thousands of runs, each would look at all others
    found = match([a for log in kept for a in log.attempts], name, steps, scores, given=bool(logs), neighbours=beside)
    if not found.attempts:
        if logs and not doubts:
            doubts.append(f"{', '.join(log.name for log in logs)}: {found.reason}")
        # What is near is kept in mind, to be named where a value is missing
        return History(name, (), False, found.reason) if kept and not logs else None, None, tuple(doubts)
    history = History(name, found.attempts, found.confirmed, found.reason)
    facts = log_facts(history.own) if found.confirmed else None
    if logs and facts is not None and found.renamed and _is_of_another_schedule(members, facts.lradj_candidates):
        modes = " or ".join(facts.lradj_candidates or ())
        doubts.append(
            f"{', '.join(log.name for log in logs)}: it prints the rates of {modes}, which the checkpoints' schedule "
            "is not: it is left out"
        )
        return None, None, tuple(doubts)
    return history, facts, tuple(doubts)


def _is_of_another_schedule(members: Sequence[Member], modes: Sequence[str] | None) -> bool:
    """Whether no checkpoint can be of a run with the modes that a log's rates allow."""
    own: set[str] = set()
    for member in members:
        state = member.state
        if state.scheduler == "CosineAnnealingLR":
            own.add(PER_EPOCH)
        elif state.scheduler == "OneCycleLR" and state.last_epoch is not None and (state.global_step or 0) > 1:
            own.update((PER_STEP,) if state.last_epoch else (PER_STEP, *IDLE))  # 0: idle, or a schedule that was reset
    return bool(own and modes) and own.isdisjoint(modes or ())
