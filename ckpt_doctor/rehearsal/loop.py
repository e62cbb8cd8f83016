"""A trace -> what kind of training loop made it: what steps the schedule, when it saves, what its labels count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ckpt_doctor.rehearsal.traces import Iteration, Load, Optimizer, Restore, Save, Scheduler, ScheduleStep, Step, Trace

LABELS = ("epoch", "current_epoch", "last_epoch", "start_epoch")
"""Keys under which loops write the epoch, the most common first."""


@dataclass(frozen=True)
class Moment:
    """Where a trace is at one event."""

    event: int
    """Its number among all events."""
    steps: int
    """Optimizer steps made so far."""
    iteration: int
    """How often the training loader had begun anew before this iteration; -1 before the first."""
    within: int
    """Steps made in this iteration."""


@dataclass(frozen=True)
class ScheduleHabit:
    """How often one scheduler steps."""

    name: str
    every: str
    """`step`, `epoch`, `steps` (a fixed number of them), or empty where neither fits."""
    count: int
    """Its steps at each of these moments; for `steps` the number of optimizer steps between two."""


@dataclass(frozen=True)
class Loop:
    """What one trace shows. None and empty where it does not show it; `open` has the sentences."""

    optimizers: tuple[Optimizer, ...]
    steps: int
    """Of the optimizer that makes the most."""
    skipped: int
    steps_per_epoch: int | None
    epochs: int
    """Iterations of the training loader, the last one perhaps not whole."""
    schedules: tuple[ScheduleHabit, ...]
    saves: int
    save_moments: frozenset[str]
    """`epoch end`, `mid-epoch`."""
    save_order: frozenset[str]
    """Against the step of the schedule that belongs to the same moment: `before`, `after`."""
    label: str
    """What a resume must begin with: `label`, where the file's epoch counts the finished epochs, or `label+1`."""
    label_key: str
    loaded: tuple[str, ...]
    restored: tuple[str, ...]
    own_order: bool | None
    """Whether each epoch has its own order of batches."""
    open: tuple[str, ...]

    @property
    def facts(self) -> dict[str, str | int | bool]:
        """The facts of the training command that this loop settles for `check`."""
        found: dict[str, str | int | bool] = {}
        if self.label:
            found["resume_epoch"] = self.label
        if self.steps_per_epoch:
            found["steps_per_epoch"] = self.steps_per_epoch
        if self.own_order is False:
            found["shuffle"] = False
        return found

    @property
    def options(self) -> tuple[str, ...]:
        """The same as options: `--resume-epoch label+1 --steps-per-epoch 45`."""
        words: list[str] = []
        for name, value in self.facts.items():
            option = name.replace("_", "-")
            words += [f"--no-{option}"] if value is False else [f"--{option}", str(value)]
        return tuple(words)


def describe(trace: Trace) -> Loop:
    """The loop that a trace shows, best of a run from its beginning with at least two epochs."""
    main = max(trace.steps, key=lambda optimizer: len(trace.steps[optimizer]), default=0)
    made = trace.steps.get(main, [])
    moments = dict(_moments(trace, main))
    steps_per_epoch = _steps_per_epoch(trace, moments)
    saves = [moments[n] for n, event in enumerate(trace.events) if type(event) is Save]
    loads = trace.all(Load)
    label, key, unknown = _label(trace, saves, steps_per_epoch, resumed=bool(loads and trace.all(Restore)))
    order = _own_order(trace)
    missing = [unknown] if unknown else []
    if steps_per_epoch is None:
        missing.append("how many steps an epoch has: no epoch was seen from its beginning to its end")
    if order is None:
        missing.append("whether each epoch has its own order: no two epochs were seen")
    elif order:
        missing.append("what an epoch's order follows from, the random state or the epoch's number")
    return Loop(
        tuple(trace.all(Optimizer)),
        len(made),
        sum(step.skipped for step in made),
        steps_per_epoch,
        1 + max((moment.iteration for moment in moments.values()), default=-1),
        tuple(_habits(trace, moments, made, steps_per_epoch)),
        len(saves),
        frozenset(_moment_name(moment, steps_per_epoch) for moment in saves) - {""},
        frozenset(_order(trace, moments, saves)),
        label,
        key,
        tuple(dict.fromkeys(load.path for load in loads)),
        tuple(dict.fromkeys(restore.what for restore in trace.all(Restore))),
        order,
        tuple(missing),
    )


def _moments(trace: Trace, main: int) -> Iterator[tuple[int, Moment]]:
    """Number of each event and where the loop is then."""
    steps, iteration, within = 0, -1, 0
    for n, event in enumerate(trace.events):
        if isinstance(event, Iteration) and event.loader == trace.training_loader:
            iteration, within = iteration + 1, 0
        elif isinstance(event, Step) and event.optimizer == main:
            steps, within = steps + 1, within + 1
        yield n, Moment(n, steps, iteration, within)


def _steps_per_epoch(trace: Trace, moments: dict[int, Moment]) -> int | None:
    """Steps of an iteration that another one followed; of a resumed run the first may be a rest, and counts last."""
    last: dict[int, int] = {}
    for moment in moments.values():
        last[moment.iteration] = moment.within
    whole = [last[n] for n in sorted(last) if n >= 0][:-1]
    whole = [n for n in whole if n]
    if trace.all(Load) and len(whole) > 1:
        whole = whole[1:]
    return Counter(whole).most_common(1)[0][0] if whole else None


def _moment_name(moment: Moment, steps_per_epoch: int | None) -> str:
    if steps_per_epoch is None or moment.iteration < 0:
        return ""
    return "epoch end" if moment.within >= steps_per_epoch else "mid-epoch"


def _habits(
    trace: Trace, moments: dict[int, Moment], made: Sequence[Step], steps_per_epoch: int | None
) -> Iterator[ScheduleHabit]:
    at: dict[int, list[Moment]] = {}
    for n, event in enumerate(trace.events):
        if isinstance(event, ScheduleStep):
            at.setdefault(event.scheduler, []).append(moments[n])
    for scheduler in trace.all(Scheduler):
        if scheduler.number in at:
            yield ScheduleHabit(scheduler.name, *_rhythm(at[scheduler.number], made, steps_per_epoch))


def _rhythm(at: Sequence[Moment], made: Sequence[Step], steps_per_epoch: int | None) -> tuple[str, int]:
    """The word and the number of a `ScheduleHabit`. What came after the last step may be cut off."""
    counts = Counter(moment.steps for moment in at)
    usual = Counter(counts.values()).most_common(1)[0][0]
    real = {step.number for step in made[:-1] if not step.skipped}
    if len(made) > 1 and real <= set(counts) | {0} and steps_per_epoch != 1:
        return "step", usual
    if steps_per_epoch is not None and all(moment.within in (0, steps_per_epoch) for moment in at):
        return "epoch", usual
    places = sorted(counts)
    gaps = {later - earlier for earlier, later in pairwise(places)}
    return ("steps", gaps.pop()) if len(gaps) == 1 else ("", usual)


def _order(trace: Trace, moments: dict[int, Moment], saves: Sequence[Moment]) -> Iterator[str]:
    """Of each save whether a schedule stepped between the last optimizer step and it, or after it."""
    scheduled = Counter(moments[n].steps for n, event in enumerate(trace.events) if isinstance(event, ScheduleStep))
    first: dict[int, int] = {}
    for n, event in enumerate(trace.events):
        if isinstance(event, ScheduleStep):
            first.setdefault(moments[n].steps, n)
    for save in saves:
        if save.steps and scheduled[save.steps]:
            yield "after" if first[save.steps] < save.event else "before"


def _label(
    trace: Trace, saves: Sequence[Moment], steps_per_epoch: int | None, *, resumed: bool
) -> tuple[str, str, str]:
    """What a resume begins with, the key of the label, and else why that is open."""
    labels: list[tuple[Moment, int]] = []
    key = ""
    for moment in saves:
        save = trace.events[moment.event]
        assert isinstance(save, Save)
        named = {name.rpartition(".")[2]: name for name in reversed(list(save.counters))}
        key = key or next((named[label] for label in LABELS if label in named), "")
        value = save.counters.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            labels.append((moment, value))
    if not labels:
        return "", "", "what the epoch's label counts: no saved file has one" if saves else ""
    if resumed:
        return "", key, f"what `{key}` counts: this run was resumed; record one from its beginning"
    ends = [(moment, value) for moment, value in labels if _moment_name(moment, steps_per_epoch) == "epoch end"]
    if not ends:
        return "", key, f"what `{key}` counts: no file was saved at the end of an epoch"
    if len({value for _, value in ends}) < 2:
        return "", key, f"what `{key}` counts: only one value of it was saved at an epoch's end"
    ahead = {value - (moment.iteration + 1) for moment, value in ends}
    label = {frozenset({0}): "label", frozenset({-1}): "label+1"}.get(frozenset(ahead), "")
    return label, key, "" if label else f"what `{key}` counts: it is neither the finished epochs nor the last of them"


def _own_order(trace: Trace) -> bool | None:
    """Whether the training loader's batches come in another order in each iteration, by batches of one number."""
    seen: dict[int, dict[int, int]] = {}
    for step in trace.all(Step):
        batch = step.batches.get(trace.training_loader if trace.training_loader is not None else -1)
        if batch is not None:
            seen.setdefault(batch.index, {})[batch.iteration] = batch.content
    several = [contents for contents in seen.values() if len(contents) > 1]
    return any(len(set(contents.values())) > 1 for contents in several) if several else None
