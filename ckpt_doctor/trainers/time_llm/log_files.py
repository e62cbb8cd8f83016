"""The log files near a run, each read once, without copies."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from ckpt_doctor.trainers.time_llm.attempts import Attempt, attempts_of
from ckpt_doctor.trainers.time_llm.events import EpochResult, StepSaved
from ckpt_doctor.trainers.time_llm.log import read_events
from ckpt_doctor.trainers.time_llm.near_logs import is_too_large, logs_near, neighbours
from ckpt_doctor.types.record import record


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


def without_copies(logs: Sequence[ReadLog]) -> list[ReadLog]:
    """Logs of which no other holds all and more: a log that was copied while the run went on counts once."""
    # In this order the logs that begin with one come right behind it; of equal ones the last is kept
    order = sorted(range(len(logs)), key=lambda i: (logs[i].content, i))
    copies = {i for i, j in pairwise(order) if logs[j].content[: len(logs[i].content)] == logs[i].content}
    return [log for i, log in enumerate(logs) if log.attempts and i not in copies]
