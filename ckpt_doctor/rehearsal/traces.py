"""The rows of a recorder's files -> a `Trace`: what one process of a training did, in order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ckpt_doctor.errors import UsageError
from ckpt_doctor.rehearsal.recorder import FORMAT, VERSION

LONGEST = 1 << 20
"""Bytes of a row at most."""

Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class Batch:
    """What a loader gave last before a step."""

    iteration: int
    """How often the loader had begun anew, from 0."""
    index: int
    """The number of the batch in that iteration, from 0."""
    content: int
    """A fingerprint."""


@dataclass(frozen=True)
class Step:
    """One optimizer step, or one that a gradient scaler skipped."""

    optimizer: int
    number: int
    """From 1, of this optimizer in this process; skipped ones count."""
    skipped: bool
    rates: Numbers
    """Of each group, as the step used them."""
    betas: Numbers
    """Adam's first beta, or the momentum, of each group."""
    losses: Numbers
    """What `backward` was called with since the step before, times the gradient scaler's scale."""
    scale: float | None
    sample: int | None
    """A fingerprint of up to 16 weights, after the step."""
    random: tuple[int | None, ...]
    """Fingerprints of the generators before the step: Python, NumPy, torch, then each accelerator."""
    batches: Mapping[int, Batch]
    """Loader -> its last batch."""


@dataclass(frozen=True)
class State:
    """Everything that a checkpoint restores, as it is before the next step of an optimizer."""

    optimizer: int
    done: int
    """Steps that this optimizer has made in this process."""
    weights: int
    """A fingerprint of all its parameters."""
    moments: int
    """A fingerprint of all of its own state; 0 where it has none."""
    rates: Numbers
    betas: Numbers
    schedules: tuple[tuple[int, str, Mapping[str, Any]], ...]
    """Number, class and counters of each scheduler."""
    scaler: Mapping[str, Any] | None


@dataclass(frozen=True)
class Scheduler:
    """A scheduler that has come into use."""

    number: int
    name: str
    """The class."""


@dataclass(frozen=True)
class ScheduleStep:
    """A scheduler has stepped."""

    scheduler: int


@dataclass(frozen=True)
class Save:
    """A checkpoint that was written."""

    path: str
    keys: tuple[str, ...]
    counters: Mapping[str, Any]
    """Its numbers, by dotted key."""


@dataclass(frozen=True)
class Load(Save):
    """A checkpoint that was read."""


@dataclass(frozen=True)
class Restore:
    """A `load_state_dict` after a load."""

    what: str
    """`model`, `optimizer`, `scheduler` or `scaler`."""
    name: str
    """The class."""


@dataclass(frozen=True)
class Iteration:
    """A loader begins anew."""

    loader: int
    number: int


@dataclass(frozen=True)
class Optimizer:
    """An optimizer that has come into use."""

    number: int
    name: str
    groups: int
    parameters: int


Event = Step | State | Scheduler | ScheduleStep | Save | Restore | Iteration | Optimizer
T = TypeVar("T")


@dataclass(frozen=True)
class Trace:
    """What one process did."""

    path: Path
    rank: int
    world: int
    torch: str
    command: tuple[str, ...]
    folder: Path
    """The working folder."""
    events: tuple[Event, ...]
    ended: str = ""
    """How the recording ended; empty for a process that was killed."""

    def all(self, kind: type[T]) -> list[T]:
        """The events of one kind, in order."""
        return [event for event in self.events if type(event) is kind]

    @cached_property
    def steps(self) -> Mapping[int, list[Step]]:
        """Optimizer -> its steps, in order."""
        found: dict[int, list[Step]] = {}
        for step in self.all(Step):
            found.setdefault(step.optimizer, []).append(step)
        return found

    @cached_property
    def training_loader(self) -> int | None:
        """The loader that gave batches to most steps."""
        counts = Counter(loader for step in self.all(Step) for loader in step.batches)
        return max(counts, key=lambda loader: (counts[loader], -loader)) if counts else None


def read_traces(path: Path) -> list[Trace]:
    """The traces of a recording (its folder, or one file of it), one per process, by rank.

    Of a killed process the last row may be cut off; it is left out. Raises `UsageError` where there is no trace.
    """
    files = sorted(path.glob("rank*-*.jsonl")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise UsageError(f"{path} has no trace" if path.exists() else f"{path} does not exist")
    return sorted((_read(file) for file in files), key=lambda trace: (trace.rank, trace.path.name))


def _read(path: Path) -> Trace:
    head: list[Any] | None = None
    events: list[Event] = []
    late: dict[tuple[int, int], tuple[bool, Numbers, float | None, int | None]] = {}
    ended = ""
    for number, row in _rows(path):
        try:
            if head is None:
                if row[0] != "trace" or row[1] != FORMAT:
                    raise UsageError(f"{path} is not a trace")
                if row[2] != VERSION:
                    raise UsageError(f"{path} was recorded by another version of ckpt-doctor (format {row[2]})")
                head = row
            elif row[0] == "late":
                late[_int(row[1]), _int(row[2])] = _late(*row[3:])
            elif row[0] == "end":
                ended = str(row[1])
            else:
                events.append(_KINDS[row[0]](*row[1:]))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{path}, line {number}: not a row of a trace") from error
    if head is None:
        raise UsageError(f"{path} is not a trace")
    try:
        _, _, _, rank, world, _, torch, command, folder = head
        told = tuple(_completed(event, late) if isinstance(event, Step) else event for event in events)
        return Trace(path, int(rank), int(world), str(torch), tuple(map(str, command)), Path(folder), told, ended)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}, line 1: not the head of a trace") from error


def _rows(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """Number and content of each row; a last one without its end was cut off by a kill."""
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(LONGEST):
            number += 1
            if not line.endswith(b"\n"):
                if len(line) == LONGEST:
                    raise UsageError(f"{path}, line {number}: longer than a row of a trace")
                return
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{path}, line {number}: not a row of a trace") from error
            if not isinstance(row, list) or not row:
                raise UsageError(f"{path}, line {number}: not a row of a trace")
            yield number, row


def _completed(step: Step, late: Mapping[tuple[int, int], tuple[bool, Numbers, float | None, int | None]]) -> Step:
    """The step with what was read from the accelerator later."""
    if (step.optimizer, step.number) not in late:
        return step
    skipped, losses, scale, sample = late[step.optimizer, step.number]
    return replace(step, skipped=skipped, losses=losses, scale=scale, sample=sample)


def _int(value: object) -> int:
    if type(value) is not int:
        raise ValueError(value)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _number(value: object) -> float | None:
    if value is not None and not isinstance(value, (int, float)):
        raise ValueError(value)
    return value


def _numbers(values: Any) -> Numbers:
    return tuple(map(_number, values))


def _counters(values: Any) -> dict[str, Any]:
    """Dotted key -> number, or a short list of numbers."""
    return {_text(key): list(_numbers(v)) if isinstance(v, list) else _number(v) for key, v in values.items()}


def _step(*row: Any) -> Step:
    optimizer, number, skipped, rates, betas, losses, scale, sample, random, batches = row
    return Step(
        _int(optimizer), _int(number), bool(skipped), _numbers(rates), _numbers(betas), _numbers(losses),
        _number(scale), sample and _int(sample), tuple(state and _int(state) for state in random),
        {int(loader): Batch(*map(_int, batch)) for loader, batch in batches.items()},
    )  # fmt: skip


def _late(skipped: Any, losses: Any, scale: Any, sample: Any) -> tuple[bool, Numbers, float | None, int | None]:
    return bool(skipped), _numbers(losses), _number(scale), sample and _int(sample)


def _state(*row: Any) -> State:
    optimizer, done, weights, moments, rates, betas, schedules, scaler = row
    held = tuple((_int(index), _text(name), _counters(counters)) for index, name, counters in schedules)
    prints = _int(optimizer), _int(done), _int(weights), _int(moments)
    return State(*prints, _numbers(rates), _numbers(betas), held, None if scaler is None else _counters(scaler))


def _made(kind: Callable[..., Event], *fields: Callable[[Any], object]) -> Callable[..., Event]:
    """What makes an event of the items of a row, each of which is read by its own function."""

    def made(*row: Any) -> Event:
        return kind(*(read(item) for read, item in zip(fields, row, strict=True)))

    return made


_FILE = (lambda path: "" if path is None else _text(path), lambda keys: tuple(map(_text, keys)), _counters)
_KINDS: Mapping[str, Callable[..., Event]] = {
    "step": _step,
    "full": _state,
    "scheduler": _made(Scheduler, _int, _text),
    "schedule": _made(ScheduleStep, _int),
    "save": _made(Save, *_FILE),
    "load": _made(Load, *_FILE),
    "restore": _made(Restore, _text, _text),
    "iterate": _made(Iteration, _int, _int),
    "optimizer": _made(Optimizer, _int, _text, _int, _int),
}
"""First item of a row -> what makes an event of the others."""
