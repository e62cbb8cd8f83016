"""Paths -> the runs to judge, each by itself: here, in worker processes, or on an executor."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ckpt_doctor import audit
from ckpt_doctor.advice.advising import advised
from ckpt_doctor.advice.better import with_better
from ckpt_doctor.advice.invocation import Invocation
from ckpt_doctor.audit import Progress
from ckpt_doctor.errors import UsageError
from ckpt_doctor.inert.counting import outline
from ckpt_doctor.remote import Excerpt, adopt, begin_call, excerpts_for, join_call
from ckpt_doctor.types import FileReport, RunReport
from ckpt_doctor.types.record import record

if TYPE_CHECKING:
    from concurrent.futures import Executor

R = TypeVar("R")
BATCH = 16
"""Files that a worker is handed at once, so that the way there costs little."""
SERIAL = 1_000
"""Files up to which one process does it, unless a person says otherwise."""
FILES_A_JOB, MOST_JOBS = 500, 16
"""Of more files: how many there are for each process, and how many processes there are at most."""
LOST = (
    "not judged: the process that read this run died, and so did a second one; out of memory, or killed. "
    "Scan the run by itself where there is more memory"
)


@record(frozen=True)
class Job:
    """What a scan does with each of its runs: all that another process must be told."""

    call: Invocation
    select: Sequence[str] = ()
    outlines: bool = False
    folder: str = ""
    """Where relative paths lead from."""
    sign: str = ""
    """The call's: what a worker has listed for another call may be out of date."""


@record(frozen=True)
class Unit:
    """One run."""

    number: int
    folder: Path
    files: Sequence[Path]
    name: str = ""
    """What a report calls it."""
    others_logs: frozenset[Path] = frozenset()
    """Logs near it that other runs have taken for their own, where that is known."""
    listed: Excerpt | None = None
    """What a listing has shown of its place, for a worker, where it lies behind a URL."""


Makes = Callable[[RunReport, Unit], R]
"""What becomes of a judged run before the next one is read: a function of a module, or a partial of one."""


Made = tuple[R, list[tuple[Path, int]]]
"""What became of a run, and the bytes of each file that a deep check has read."""


def plan(
    paths: Path | str | Sequence[Path | str], *, select: Sequence[str] = (), outlines: bool = False, **given: Any
) -> tuple[Job, list[Unit]]:
    """The job and the runs of a scan, whose arguments these are."""
    named, found = audit.runs_below(paths)
    call = Invocation(**audit.stated(given), paths=named, alone=len(found) == 1)
    units = [Unit(number, folder, files) for number, (folder, files) in enumerate(found.items())]
    return Job(call, select, outlines, str(Path.cwd()), begin_call()), units


def number_of_jobs(units: Sequence[Unit]) -> int:
    """How many processes to use where nobody says."""
    files = sum(len(unit.files) for unit in units)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if files < SERIAL else min(cores, files // FILES_A_JOB, MOST_JOBS)


def outcomes(
    job: Job,
    units: Sequence[Unit],
    makes: Makes[R],
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Generator[tuple[Unit, R], None, None]:
    """Each run, judged and made into something; in any order."""
    if executor is None and min(jobs, len(units)) <= 1:
        here = replace(job, call=replace(job.call, progress=progress))
        yield from ((unit, makes(_judged(here, unit), unit)) for unit in units)
        return
    from ckpt_doctor.advice.workers import Lost, results  # most scans need none

    listings = excerpts_for([unit.folder for unit in units])
    batches = _batches(replace(unit, listed=one) for unit, one in zip(units, listings, strict=True))
    work: Callable[[Sequence[Unit]], list[Made[R]]] = partial(_each_elsewhere, job, makes)
    judged = results(work, batches, min(jobs, len(batches)), executor)
    with closing(judged):
        for unit, found in judged:
            if isinstance(found, Lost):
                lost = audit.lost_run(unit.folder, unit.files, job.call, LOST)
                yield unit, makes(_finished(lost, job), unit)
            else:
                made, read = found
                for path, count in read if progress is not None else ():
                    progress(path, count)  # type: ignore[misc]  # it is there
                yield unit, made


def _batches(units: Iterable[Unit]) -> list[list[Unit]]:
    """Runs in batches of about as many files; the largest first, for the last to end are small then."""
    batches: list[list[Unit]] = []
    room = 0
    for unit in units:
        if room <= 0:
            batches.append([])
            room = BATCH
        batches[-1].append(unit)
        room -= len(unit.files)
    return sorted(batches, key=lambda batch: sum(len(unit.files) for unit in batch), reverse=True)


def _each_elsewhere(job: Job, makes: Makes[R], units: Sequence[Unit]) -> list[Made[R]]:
    """In a worker: also the bytes of each file that a deep check has read."""
    is_elsewhere = str(Path.cwd()) != job.folder
    if is_elsewhere and not all(path.is_absolute() for path in (*job.call.paths, *job.call.logs)):
        raise UsageError(f"the workers run in {Path.cwd()!s}, not in {job.folder}: give absolute paths")
    join_call(job.sign)
    made = []
    for unit in units:
        adopt(unit.folder, unit.listed)
        run = _judged(job, unit)
        read = [(file.checkpoint.path, deep.bytes_read) for file in run.files if (deep := file.checkpoint.deep)]
        made.append((makes(run, unit), read))
    return made


def _judged(job: Job, unit: Unit) -> RunReport:
    return _finished(audit.audit_run(unit.folder, unit.files, job.call), job)


def _finished(run: RunReport, job: Job) -> RunReport:
    """The run with its advice, and with what was asked for only."""
    judged = audit.selected(with_better(advised(run, job.call), run, job.call), job.select)
    return _outlined(judged) if job.outlines else judged


def _outlined(run: RunReport) -> RunReport:
    """The run with outlines of its checkpoints, and without what only its judgement needs."""
    files = tuple(map(_outlined_file, run.files))
    return replace(run, run=replace(run.run, members=(), history=None, placed={}), files=files)


def _outlined_file(file: FileReport) -> FileReport:
    parts = tuple(map(_outlined_file, file.parts))
    outlined = outline(file.checkpoint, tuple(part.checkpoint for part in parts))
    return replace(file, member=replace(file.member, checkpoint=outlined), parts=parts)
