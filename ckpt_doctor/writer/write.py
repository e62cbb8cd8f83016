"""Give a checkpoint a new program: verified, atomic, undoable."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.types import Adopted, Checkpoint, FileStamp, Mode, Receipt, Recovery, stamp_of
from ckpt_doctor.writer import in_place, sidecar
from ckpt_doctor.writer.commit import ensure_quiet, folder_for, refusing, space_checker, take_place
from ckpt_doctor.writer.files import (
    READ,
    copy_attributes,
    is_named,
    opened,
    place,
    sync_folder,
    temporary_file,
)
from ckpt_doctor.writer.locking import run_folder, run_lock
from ckpt_doctor.writer.recover import recover
from ckpt_doctor.writer.signals import orderly_exit
from ckpt_doctor.writer.splice import ZIPS, Splice, apply_to, ensure_applied, plan


@dataclass(frozen=True, slots=True)
class Job:
    """One call that writes a result, its paths resolved."""

    checkpoint: Checkpoint
    source: Path
    target: Path
    record: Mapping[str, Any]
    mode: Mode
    verify: Callable[[Path], None]
    progress: Callable[[int], None] | None


@contextmanager
def job_for(
    checkpoint: Checkpoint,
    record: Mapping[str, Any],
    mode: Mode,
    output: Path | None,
    verify: Callable[[Path], None],
    progress: Callable[[int], None] | None,
) -> Iterator[Job]:
    """A context for a job, in which the target's folder takes new files, and what the system refuses is refused."""
    source = checkpoint.path.resolve()
    target = output_path(checkpoint.path, output) if mode == "output" else source
    record = {"when": datetime.now(timezone.utc).isoformat(timespec="seconds"), **record}
    refused = refusing(f"{target} could not be written and is as it was")
    with refused, orderly_exit(), folder_for(target, make=mode == "output"):
        yield Job(checkpoint, source, target, record, mode, verify, progress)


def ensure_free(job: Job, recovery: Recovery | None) -> None:
    """Raise `WriteRefused` where a result would be written over, or an earlier write was rolled back just now."""
    if job.mode == "output" and os.path.lexists(job.target):
        raise WriteRefused(
            f"{job.target} exists already and is not written over: remove it, or name another folder for the output"
        )
    if recovery == "rolled-back":
        raise WriteRefused(f"{job.target}: an interrupted migration was rolled back; run again")


def write(
    checkpoint: Checkpoint,
    program: bytes,
    record: Mapping[str, Any],
    *,
    adopted: Sequence[Adopted] = (),
    mode: Mode = "replace",
    output: Path | None = None,
    verify: Callable[[Path], None],
    progress: Callable[[int], None] | None = None,
) -> Receipt:
    """Write `checkpoint` with `program` (a whole pickle) in place of the program it has; tensors keep their bytes.

    `record` says what was changed and why (`edits`, `tool_version`; `when` and `previous_size` are added). It is kept
    in the file, or in the undo file beside it. `adopted` storages are added to a zip from other files. `verify` is
    called with the path of the complete result before it counts, and raises to have it thrown away. `progress` is
    called with the bytes done since its last call.

    - `replace`: a copy is edited and renamed onto the file; readers see the old file or the new one. A symbolic link
      stays and its file is replaced. Other hard links keep the old content (a note says so). Owner, mode, times and
      extended attributes are kept, read-only stays read-only.
    - `in-place`: constant time, torch zip only; other containers are replaced and a note says so. All hard links see
      the change, and a reader that opens the file in these milliseconds may find it incomplete.
    - `output`: the result goes to `output/<run folder>/<path within the run>`, which must not exist; the original is
      not touched.

    Raises `WriteRefused` (and its subclasses) when nothing was written or all was taken back: the file changed since it
    was read, another process writes it, the disk is too small, permissions, a failing disk; and whatever `verify`
    raises. Torch zip files need no undo data; streams and tar files get `<name>.ckpt-doctor-undo`.
    """
    stamp = checkpoint.stamp
    if stamp is None:
        raise WriteRefused(f"{checkpoint.path.resolve()} could not be read: nothing was written")
    with job_for(checkpoint, record, mode, output, verify, progress) as job, run_lock(job.target):
        return _write(job, stamp, program, adopted)


def output_path(path: Path, output: Path | None) -> Path:
    """Where `--output` puts the result: `output/<run folder>/<path within the run>`."""
    if output is None:
        raise WriteRefused("no folder was given for the output")
    # The name of a link, not of the file behind it: that is what the trainer is told to resume from.
    named = path.parent.resolve() / path.name
    folder = run_folder(named.parent)
    return output.resolve() / folder.name / named.relative_to(folder)


def _write(job: Job, stamp: FileStamp, program: bytes, adopted: Sequence[Adopted]) -> Receipt:
    ensure_free(job, None)
    ensure_free(job, recover(job.target))
    ensure_quiet(job.source, stamp)
    edits_file = job.mode == "in-place" and job.checkpoint.container in ZIPS
    if edits_file and not job.source.stat().st_mode & stat.S_IWUSR:
        raise WriteRefused(f"{job.source} is read-only and cannot be edited in place: nothing was written")
    with opened(job.source, os.O_RDWR if edits_file else READ) as fd:
        if stamp_of(os.fstat(fd)) != stamp:  # another file, since the look above
            raise WriteRefused(f"{job.source} changed since it was read: left alone")
        splice = plan(fd, job.checkpoint, program, job.record, adopted)
        return _edit(job, stamp, fd, splice) if edits_file else _replace(job, stamp, fd, splice)


def _edit(job: Job, stamp: FileStamp, fd: int, splice: Splice) -> Receipt:
    space_checker(job.target.parent)(splice.added)
    links = os.fstat(fd).st_nlink - 1
    notes = (f"{links} other hard links to {job.target.name} show the change too",) if links else ()
    in_place.append(job.target, fd, stamp, splice, job.verify)
    return Receipt(job.target, notes)


def _replace(job: Job, stamp: FileStamp, fd: int, splice: Splice) -> Receipt:
    before = os.fstat(fd)
    temporary = names.temporary(job.target)
    notes = []
    if job.mode == "in-place":
        notes.append(f"a {job.checkpoint.container} file cannot be edited in place: it was replaced")
    if before.st_nlink > 1 and job.mode != "output":
        notes.append(f"other hard links to {job.target.name} keep the old content")
    with temporary_file(temporary) as new:
        space = space_checker(job.target.parent)
        apply_to(fd, new, before.st_size, splice, space, job.progress)
        ensure_applied(new, before.st_size, splice)
        job.verify(temporary)
        notes += copy_attributes(before, fd, new)
        os.fsync(new)
        if splice.appended:
            notes += _commit(job, stamp, temporary, new)
        else:
            earlier = sidecar.load(job.source, fd)
            generation = sidecar.Generation.of(fd, before.st_size, splice, job.record)
            try:
                sidecar.store(job.target, [*earlier, generation])
                notes += _commit(job, stamp, temporary, new)
            except BaseException:
                # Unless the rename happened (an interrupt can come just after it), there is nothing new to undo.
                if not is_named(job.target, new):
                    sidecar.store(job.target, earlier if job.mode != "output" else [])
                raise
    return Receipt(job.target, tuple(notes))


def _commit(job: Job, stamp: FileStamp, temporary: Path, new: int) -> list[str]:
    if job.mode != "output":
        return take_place(temporary, new, job.target, stamp)
    ensure_quiet(job.source, stamp)
    place(temporary, job.target)
    return sync_folder(job.target.parent)
