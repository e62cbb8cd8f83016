"""`save_total_limit` done safely: old step folders go, under the lock, and never one that somebody may need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpt_doctor.errors import UsageError
from ckpt_doctor.types import PruneResult, Spared
from ckpt_doctor.writer import names
from ckpt_doctor.writer.files import sync_folder
from ckpt_doctor.writer.handles import holders
from ckpt_doctor.writer.locking import DEFAULT_TIMEOUT, run_lock


@dataclass(frozen=True, slots=True)
class Step:
    """A step folder of a run."""

    step: int
    """The optimizer step that it was saved at."""
    folder: Path
    resumable: bool
    """Whether the trainer can resume from it."""


def keep_newest(
    run_dir: Path,
    keep: int,
    *,
    find_steps: Callable[[], Iterable[Step]],
    protect: Iterable[Path] = (),
    dry_run: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
) -> PruneResult:
    """Remove the step folders of `run_dir` that are older than the `keep` newest resumable ones.

    `find_steps` looks for them, once the run is locked; folders that it does not name stay. Fewer than `keep` resumable
    ones: nothing is removed. Spared in any case: what `protect` or a symbolic link in `run_dir` leads to, links
    themselves, and folders of which another process has a file open or mapped. A folder is renamed before its files are
    deleted, so that a crash leaves no half checkpoint under a checkpoint's name; the next call deletes what is left.
    Raises `UsageError` for `keep` < 1, a missing folder, or something to protect that is not there; `LockTimeout`, and
    `WriteRefused` when the folder cannot be locked.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: at least one checkpoint must stay")
    if not run_dir.is_dir():
        raise UsageError(f"{run_dir} is not a folder")
    needed = _led_to(run_dir, protect)
    if dry_run:
        return _prune(keep, find_steps(), needed, _measure)
    with run_lock(run_dir, timeout):
        for left in sorted(run_dir.glob(".*.ckpt-doctor-removing")):
            shutil.rmtree(left, ignore_errors=True)
        return _prune(keep, find_steps(), needed, _remove)


def _prune(
    keep: int, steps: Iterable[Step], needed: Mapping[Path, str], remove: Callable[[Path], int | Spared]
) -> PruneResult:
    kept: list[Path] = []
    uncounted: list[Path] = []
    beyond: list[Path] = []
    for step in sorted(steps, key=lambda step: (step.step, step.folder), reverse=True):
        if len(kept) == keep:
            beyond.append(step.folder)
        else:
            (kept if step.resumable else uncounted).append(step.folder)
    removed, spared, freed = [], [], 0
    for path in reversed(beyond):
        outcome = _reason_to_spare(path, needed) or remove(path)
        if isinstance(outcome, Spared):
            spared.append(outcome)
        else:
            removed.append(path)
            freed += outcome
    return PruneResult(tuple(kept), tuple(uncounted), tuple(removed), tuple(spared), freed, remove is _measure)


def _led_to(run_dir: Path, protect: Iterable[Path]) -> dict[Path, str]:
    """Resolved paths that must stay, and why: given ones, and what links in the run folder (a `best` link) lead to."""
    needed = {_real(_present(path, run_dir)): "it is protected" for path in protect}
    needed |= {_real(path): f"the link {path.name} leads to it" for path in run_dir.iterdir() if path.is_symlink()}
    return needed


def _present(path: Path, run_dir: Path) -> Path:
    """The path, or the entry of the run folder by that name. UsageError where there is neither."""
    for place in (path, run_dir / path):
        if os.path.lexists(place):
            return place
    raise UsageError(f"{path}, which is to be protected, is not there")


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike resolve(), never raises on a link to itself


def _reason_to_spare(folder: Path, needed: Mapping[Path, str]) -> Spared | None:
    if folder.is_symlink():
        return Spared(folder, "it is a symbolic link")
    resolved = _real(folder)
    for path, reason in needed.items():
        if path == resolved or resolved in path.parents:
            return Spared(folder, reason)
    return _in_use(folder)


def _in_use(folder: Path) -> Spared | None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    users = holders(files, mappings=True)
    if not users:
        return None
    use = "writing" if any(user.writing for user in users) else "reading"
    return Spared(folder, f"process {', '.join(sorted({str(user.pid) for user in users}))} is {use} it")


def _measure(folder: Path) -> int:
    """Bytes on disk that the folder's files take; a file with other hard links frees nothing."""
    stats = [path.lstat() for path in folder.rglob("*") if not path.is_dir()]
    return sum(getattr(stat, "st_blocks", 0) * 512 for stat in stats if stat.st_nlink == 1)


def _remove(folder: Path) -> int | Spared:
    size = _measure(folder)
    leaving = names.removing(folder)
    try:
        folder.rename(leaving)
    except OSError as error:
        return Spared(folder, f"it cannot be renamed: {error.strerror}")
    # Somebody may have opened a file between the look and the rename; from now on nobody finds it.
    busy = _in_use(leaving)
    if busy is not None:
        leaving.rename(folder)
        return Spared(folder, busy.reason)
    sync_folder(folder.parent)
    try:
        shutil.rmtree(leaving)
    except OSError as error:
        return Spared(leaving, f"it could not be deleted entirely: {error.strerror} ({error.filename or leaving})")
    return size
