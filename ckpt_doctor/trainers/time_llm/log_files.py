"""The log files near a run: where they lie, each read once, in the order of time and without copies."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from ckpt_doctor.remote import RemotePath, entries_of
from ckpt_doctor.trainers.time_llm.attempts import Attempt, attempts_of
from ckpt_doctor.trainers.time_llm.events import EpochResult, StepSaved
from ckpt_doctor.trainers.time_llm.log import read_events
from ckpt_doctor.types import NotChecked
from ckpt_doctor.types.record import record

LARGEST_UNASKED = 1 << 30
"""Bytes of a log beyond which it is read only when a person names it."""

NAME = re.compile(r"train_(?P<comment>.+?)_(?P<date>\d{8})_?(?P<time>\d{4,6})\Z")
"""The name of a log that the run script writes: model comment, date and time."""


@record(frozen=True)
class ReadLog:
    """A log file as it was read."""

    attempts: tuple[Attempt, ...]
    content: tuple[str, ...]
    """What was saved and measured, in order; as text, so that a NaN equals itself."""

    @classmethod
    def of(cls, attempts: tuple[Attempt, ...]) -> ReadLog:
        """The log that holds these attempts."""
        items: list[StepSaved | EpochResult] = []
        for attempt in attempts:
            items += [*attempt.saves, *(epoch.result for epoch in attempt.epochs)]
        return cls(attempts, tuple(repr(item) for item in sorted(items, key=lambda item: item.line)))


def read_log(path: Path) -> ReadLog:
    """The attempts in a log file. Raises OSError. Read once while the file stays as it is."""
    stat = path.stat()
    return _read_log(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1024)  # every run of a tree looks at the same logs
def _read_log(path: Path, mtime_ns: int, size: int) -> ReadLog:
    return ReadLog.of(attempts_of(read_events(path), path))


_COARSEST = 3_000_000_000
"""Nanoseconds by which a file system's times may be too coarse to show a second change."""


def logs_near(folder: Path) -> list[Path]:
    """Logs in the places where the trainer's scripts put them: `logs/` beside `checkpoints/`, and the run's folders.

    Candidates only: what stands in them decides.
    """
    root = folder.absolute()
    places = [root, root / "logs"]
    for parent in list(root.parents)[:2]:
        places += [parent, parent / "logs"]
    found: list[Path] = []
    for place in places:
        try:
            found += _logs_in(place)
        except OSError:
            continue  # a folder that may not be listed holds no evidence
    return list(dict.fromkeys(found))


def _logs_in(place: Path) -> list[Path]:
    """The logs of a folder, which is listed once for all runs beside it as long as nothing is added or removed."""
    if isinstance(place, RemotePath):
        return _listed.__wrapped__(place, 0)
    changed = place.stat().st_mtime_ns
    is_settled = time.time_ns() - changed > _COARSEST
    return _listed(place, changed) if is_settled else _listed.__wrapped__(place, changed)


@lru_cache(maxsize=64)
def _listed(place: Path, _changed: int) -> list[Path]:
    return sorted(path for path in place.glob("*.log") if path.is_file())


def unclaimed_logs(folder: Path) -> list[Path]:
    """Logs near a run folder that name no other folder beside it: one of them can be of a run that was renamed."""
    logs = [log for log in logs_near(folder) if not is_too_large(log)]
    others = set(neighbours(folder)) if logs else set()
    return [log for log in logs if not _names_one_of(log, others)]


def _names_one_of(log: Path, runs: Collection[str]) -> bool:
    try:
        return any(attempt.run in runs for attempt in read_log(log).attempts)
    except OSError:
        return True  # what cannot be read is no evidence


def unread_logs(folder: Path) -> tuple[NotChecked, ...]:
    """Logs near a run folder that are read only when a person names them."""
    why = f"it is larger than {LARGEST_UNASKED >> 30} GiB"
    return tuple(
        NotChecked(f"the log {log.name}", why, f"--log {log}") for log in logs_near(folder) if is_too_large(log)
    )


def is_too_large(log: Path) -> bool:
    """Whether a log is read only when a person names it."""
    try:
        return log.stat().st_size > LARGEST_UNASKED
    except OSError:
        return False  # reading it says why


def in_order_of_time(logs: Iterable[Path]) -> list[Path]:
    """Logs by the time in their names where all have one, else by when they were last written."""
    logs = list(logs)
    stamps = {log: NAME.match(log.stem) for log in logs}
    if all(stamps.values()):
        return sorted(logs, key=lambda log: (stamps[log]["date"], stamps[log]["time"], log.name))  # type: ignore[index]
    return sorted(logs, key=lambda log: (log.stat().st_mtime_ns, log.name))


def without_copies(logs: Sequence[ReadLog]) -> list[ReadLog]:
    """Logs of which no other holds all and more: a log that was copied while the run went on counts once."""
    # In this order the logs that begin with one come right behind it; of equal ones the last is kept
    order = sorted(range(len(logs)), key=lambda i: (logs[i].content, i))
    copies = {i for i, j in pairwise(order) if logs[j].content[: len(logs[i].content)] == logs[i].content}
    return [log for i, log in enumerate(logs) if log.attempts and i not in copies]


def neighbours(folder: Path) -> list[str]:
    """The other folders beside a run's: with `--itr`, or after a sweep, runs of one model comment."""
    own = folder.absolute()
    try:
        with entries_of(own.parent) as entries:
            return [entry.name for entry in entries if entry.name != own.name and entry.is_dir()]
    except OSError:
        return []
