"""`save_total_limit` done safely: old step folders go, under the lock, and never one that somebody may need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ckpt_doctor.errors import UsageError
from ckpt_doctor.inert import names
from ckpt_doctor.types import FileStamp, PruneResult, Spared, stamp_of
from ckpt_doctor.writer import generations
from ckpt_doctor.writer.files import sync_folder
from ckpt_doctor.writer.handles import holders
from ckpt_doctor.writer.locking import DEFAULT_TIMEOUT, run_lock

Contents = frozenset[tuple[str, FileStamp]]
"""What a folder holds: path below it and identity of each file."""


def contents(folder: Path) -> Contents:
    """The files of a folder as they are now, to be compared with later."""
    return frozenset((str(path.relative_to(folder)), stamp_of(path.lstat())) for path in _files(folder))


@dataclass(frozen=True, slots=True)
class Step:
    """A step folder of a run."""

    progress: tuple[int, ...]
    """How far training had come: what `latest` orders checkpoints by."""
    folder: Path
    resumable: bool
    """Whether the trainer can resume from it."""
    contents: Contents
    """What the folder held before it was judged."""
    departs: bool = False
    """Whether a resume from it leaves the uninterrupted run's path for good."""
    spare: str = ""
    """Why it must stay in any case."""


def keep_newest(
    run_dir: Path,
    keep: int,
    *,
    find_steps: Callable[[], Iterable[Step]],
    is_sound: Callable[[Step], bool] | None = None,
    protect: Iterable[Path] = (),
    dry_run: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
) -> PruneResult:
    """Remove the step folders of `run_dir` that are older than the `keep` newest resumable ones.

    `find_steps` looks for them, once the run is locked; folders that it does not name stay. Fewer than `keep` resumable
    ones: nothing is removed. One that departs counts only where all do, and stays where it is newer than the last
    that counts. `is_sound` reads a resumable one to its last byte before anything goes, and only where
    something would: one that it denies does not count, and stays.

    Spared in any case: a step that says so, what `protect` or a symbolic link in `run_dir` leads to, links themselves,
    and folders of which another process has a file open or mapped, or that changed since they were judged. A folder is
    renamed before that last look and before its files are deleted, so that a crash leaves no half checkpoint under a
    checkpoint's name; the next call puts back what was not looked at, and deletes what was.

    Raises `UsageError` for `keep` < 1, a missing folder, or something to protect that is not there; `LockTimeout`, and
    `WriteRefused` when the folder cannot be locked.
    """
    if keep < 1:
        raise UsageError(f"--keep {keep}: at least one checkpoint must stay")
    if not run_dir.is_dir():
        raise UsageError(f"{run_dir} is not a folder")
    needed = _led_to(run_dir, protect)
    if dry_run:
        return _prune(keep, find_steps(), is_sound, needed, dry_run=True)
    with run_lock(run_dir, timeout):
        for left in sorted(run_dir.glob(".*.ckpt-doctor-leaving")):
            with suppress(OSError):
                _put_back(left, left.with_name(left.name[1:].removesuffix(".ckpt-doctor-leaving")))
        for left in sorted(run_dir.glob(".*.ckpt-doctor-removing")):
            shutil.rmtree(left, ignore_errors=True)
        return _prune(keep, find_steps(), is_sound, needed, dry_run=False)


def _prune(
    keep: int,
    steps: Iterable[Step],
    is_sound: Callable[[Step], bool] | None,
    needed: Mapping[Path, str],
    *,
    dry_run: bool,
) -> PruneResult:
    newest_first = sorted(steps, key=lambda step: (step.progress, step.folder), reverse=True)
    resumable = [step for step in newest_first if step.resumable]
    deep = is_sound is not None and len(resumable) > keep

    def is_good(step: Step) -> bool:
        return step.resumable and (not deep or is_sound is None or is_sound(step))

    identical = any(not step.departs and is_good(step) for step in resumable)
    kept: list[Path] = []
    uncounted: list[Path] = []
    departing: list[Path] = []
    beyond: list[Step] = []
    for step in newest_first:
        if len(kept) == keep:
            beyond.append(step)
        elif step.resumable and step.departs and identical:
            departing.append(step.folder)
        elif is_good(step):
            kept.append(step.folder)
        else:
            uncounted.append(step.folder)
    removed, spared, freed = [], [], 0
    for step in reversed(beyond):
        outcome = _reason_to_spare(step, needed) or (_measure(step.folder) if dry_run else _remove(step))
        if isinstance(outcome, Spared):
            spared.append(outcome)
        else:
            removed.append(step.folder)
            freed += outcome
    return PruneResult(
        tuple(kept), tuple(uncounted), tuple(removed), tuple(spared), freed, dry_run, deep, tuple(departing)
    )


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


def _reason_to_spare(step: Step, needed: Mapping[Path, str]) -> Spared | None:
    folder = step.folder
    if step.spare:
        return Spared(folder, step.spare)
    if folder.is_symlink():
        return Spared(folder, "it is a symbolic link")
    resolved = _real(folder)
    for path, reason in needed.items():
        if path == resolved or resolved in path.parents:
            return Spared(folder, reason)
    return _in_use(folder)


def _in_use(folder: Path) -> Spared | None:
    users = holders(_files(folder), mappings=True)
    if not users:
        return None
    use = "writing" if any(user.writing for user in users) else "reading"
    return Spared(folder, f"process {', '.join(sorted({str(user.pid) for user in users}))} is {use} it")


def _measure(folder: Path) -> int:
    """Bytes on disk that the folder's files take; a file with other hard links frees nothing."""
    stats = [path.lstat() for path in _files(folder)]
    return sum(getattr(stat, "st_blocks", 0) * 512 for stat in stats if stat.st_nlink == 1)


def _files(folder: Path) -> list[Path]:
    """Everything below a folder that is not a folder; links are not followed."""
    return [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]


def _remove(step: Step) -> int | Spared:
    folder, leaving, removing = step.folder, names.leaving(step.folder), names.removing(step.folder)
    size = _measure(folder)
    try:
        folder.rename(leaving)
        # Somebody may have opened or saved a file before the rename; from now on nobody finds it.
        busy = _in_use(leaving)
        if busy is None and contents(leaving) != step.contents:
            busy = Spared(folder, "it changed while it was looked at")
        if busy is not None:
            return Spared(_put_back(leaving, folder), busy.reason)
        leaving.rename(removing)
    except BaseException as error:
        if os.path.lexists(leaving):
            folder = _put_back(leaving, folder)
        if not isinstance(error, OSError):
            raise
        return Spared(folder, f"it cannot be renamed: {error.strerror}")
    sync_folder(folder.parent)
    try:
        shutil.rmtree(removing)
    except OSError as error:
        return Spared(removing, f"it could not be deleted entirely: {error.strerror} ({error.filename or removing})")
    generations.forget(folder)
    return size


def _put_back(leaving: Path, folder: Path) -> Path:
    """Give a folder its name again, or another one where a new folder has that name by now; its path."""
    number = 0
    place = folder
    while os.path.lexists(place):
        number += 1
        place = folder.with_name(f"{folder.name} ({number})")
    leaving.rename(place)
    return place
