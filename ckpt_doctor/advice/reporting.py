"""Paths -> a report in some format, in the memory of one run: each is judged, rendered, put on disk and dropped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ckpt_doctor.advice.jobs import Unit, number_of_jobs, outcomes, plan
from ckpt_doctor.advice.scanning import own_log, without_logs
from ckpt_doctor.audit import Progress
from ckpt_doctor.errors import CkptDoctorError
from ckpt_doctor.remote import take_traffic
from ckpt_doctor.reports.documents import (
    Ending,
    Place,
    Style,
    Told,
    document,
    ending,
    names_of,
    packed,
    told,
    unpacked,
)
from ckpt_doctor.types import RunReport
from ckpt_doctor.types.record import record

if TYPE_CHECKING:
    from concurrent.futures import Executor

IN_MEMORY = 1 << 20
"""Bytes of rendered runs that are kept in memory before a file is made."""


class Shelf:
    """Rendered runs, put away in any order and taken in theirs, as often as one likes."""

    def __init__(self) -> None:
        self._held: dict[int, Told] = {}
        self._file: IO[bytes] | None = None
        self._places: dict[int, tuple[int, int]] = {}
        self._room = IN_MEMORY

    def put(self, number: int, run: Told) -> None:
        """Put a run away, in the place of an earlier one of that number."""
        try:
            self._put(number, run)
        except OSError as error:
            why = error.strerror or error
            raise CkptDoctorError(
                f"no temporary file for the report ({why}): set TMPDIR to a folder with room"
            ) from error

    def _put(self, number: int, run: Told) -> None:
        if self._file is not None:
            self._write(number, run)
            return
        self._held[number] = run
        self._room -= len(packed(run))
        if self._room < 0:
            from tempfile import TemporaryFile  # most scans end before

            self._file = TemporaryFile()  # noqa: SIM115  # it goes when the shelf does
            while self._held:  # Ctrl-C may come at any time, and leaves none there twice
                self._write(*self._held.popitem())

    def _write(self, number: int, run: Told) -> None:
        assert self._file is not None
        data = packed(run)
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(data)
        self._file.flush()
        self._places[number] = start, len(data)

    def __len__(self) -> int:
        return len(self._held) + len(self._places)

    def __iter__(self) -> Iterator[Told]:
        for number in sorted({*self._held, *self._places}):
            if number in self._held:
                yield self._held[number]
                continue
            start, length = self._places[number]
            assert self._file is not None
            self._file.seek(start)
            yield unpacked(self._file.read(length))


@record(frozen=True)
class Reported:
    """A scan's report, ready to be printed."""

    runs: Shelf
    ending: Ending
    style: Style

    def text(self) -> Iterator[str]:
        """The report, in pieces."""
        return document(self.runs, self.ending, self.style)


@record(frozen=True)
class Rendered:
    """A run as text, and its part in what concerns other runs: logs."""

    told: Told
    own: Path | None
    left: tuple[Path, ...]
    """Logs near it that are not its own, and are named where no other run has taken them."""


Found = Generator[tuple[Unit, Rendered], None, None]
Spread = Callable[[Sequence[Unit]], Found]


def report(
    paths: Sequence[Path],
    style: Style,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    counted: Callable[[int, int], None] | None = None,
    **given: Any,
) -> Reported:
    """Scan and render; arguments as of `scan`, whose report this is. `counted` is told how many files of how many are
    judged.

    After Ctrl-C it is that of the runs that were judged until then; `KeyboardInterrupt` where there are none.
    """
    began = time.monotonic()
    job, found = plan(paths, **given)
    style = replace(style, paths=job.call.paths)
    names = names_of([unit.folder for unit in found], style)
    units = [replace(unit, name=name) for unit, name in zip(found, names, strict=True)]
    shelf = Shelf()

    def spread(some: Sequence[Unit]) -> Found:
        many = number_of_jobs(units) if jobs is None else jobs
        makes = partial(_rendered, style, len(units))
        return outcomes(job, some, makes, jobs=many, executor=executor, progress=progress)

    try:
        _fill(shelf, units, spread, counted or _nobody)
    except KeyboardInterrupt:
        if not len(shelf):
            raise
    end = ending(shelf, time.monotonic() - began, len(units), len(units) - len(shelf))
    requests, received = take_traffic()  # of the listings, where other processes judged: each counts its own
    counts = replace(end.tally, requests=end.tally.requests + requests, read=end.tally.read + received)
    return Reported(shelf, replace(end, tally=counts), style)


def _nobody(*_: int) -> None:
    """Tell nobody."""


def _fill(shelf: Shelf, units: Sequence[Unit], spread: Spread, counted: Callable[[int, int], None]) -> None:
    taken: set[Path] = set()
    near: dict[int, tuple[Path, ...]] = {}
    done, of = 0, sum(len(unit.files) for unit in units)
    with closing(spread(units)) as found:
        for unit, run in found:
            shelf.put(unit.number, run.told)
            counted(done := done + len(unit.files), of)
            if run.own is not None:
                taken.add(run.own)
            if run.left:
                near[unit.number] = run.left
    # What is said of a log depends on runs that are judged later. Few runs are near logs that are not theirs.
    again = [
        replace(unit, others_logs=frozenset(taken.intersection(near[unit.number])))
        for unit in units
        if not taken.isdisjoint(near.get(unit.number, ()))
    ]
    with closing(spread(again)) as found:
        for unit, run in found:
            shelf.put(unit.number, run.told)


def _rendered(style: Style, of: int, run: RunReport, unit: Unit) -> Rendered:
    left = run.advice.left_logs if run.advice is not None else ()
    shown = without_logs(run, unit.others_logs)
    place = Place(unit.name, unit.number + 1, of)
    return Rendered(told(shown, place, style), own_log(run), tuple(log.path.absolute() for log in left))
