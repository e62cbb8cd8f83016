"""Where the logs of a run lie, and in which order."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from ckpt_doctor.remote import RemotePath, entries_of
from ckpt_doctor.types import NotChecked

LARGEST_UNASKED = 1 << 30
"""Bytes of a log beyond which it is read only when a person names it."""


_COARSEST = 3_000_000_000
"""Nanoseconds by which a file system's times may be too coarse to show a second change."""


NAME = re.compile(r"train_(?P<comment>.+?)_(?P<date>\d{8})_?(?P<time>\d{4,6})\Z")
"""The name of a log that the run script writes: model comment, date and time."""


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


def neighbours(folder: Path) -> list[str]:
    """The other folders beside a run's: with `--itr`, or after a sweep, runs of one model comment."""
    own = folder.absolute()
    try:
        with entries_of(own.parent) as entries:
            return [entry.name for entry in entries if entry.name != own.name and entry.is_dir()]
    except OSError:
        return []
