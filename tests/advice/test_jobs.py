"""The runs of a scan as units of work: in batches, here or elsewhere, and what is said of one that is lost."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor import scan
from ckpt_doctor.advice import jobs, workers
from ckpt_doctor.advice.jobs import BATCH, Unit, number_of_jobs
from ckpt_doctor.errors import UsageError
from ckpt_doctor.types import Finding, RunReport


def kept(run: RunReport, _unit: Unit) -> RunReport:
    return run


def units(*counts: int) -> list[Unit]:
    return [Unit(n, Path(str(n)), [Path(f"{n}/{i}") for i in range(count)]) for n, count in enumerate(counts)]


def test_batches_have_about_as_many_files_and_the_largest_comes_first() -> None:
    batches = jobs._batches(units(1, BATCH - 1, 2, 5 * BATCH, 1))
    assert [[2, 3], [0, 1], [4]] == [[unit.number for unit in batch] for batch in batches]


@pytest.mark.parametrize(("files", "expected"), [(999, 1), (1_000, 2), (100_000, 8)])
def test_few_files_are_judged_by_one_process(files: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert expected == number_of_jobs(units(files))


def test_there_are_no_more_processes_than_batches(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def results(_work: object, batches: list[object], count: int, _executor: object) -> Iterator[Any]:
        asked.append((count, len(batches)))
        yield from ()

    monkeypatch.setattr(workers, "results", results)
    list(jobs.outcomes(*jobs.plan(["checkpoints"]), kept, jobs=10**30))
    assert [batches for _, batches in asked] == [count for count, _ in asked]


def test_a_run_is_told_whether_it_is_alone(drive: Path) -> None:
    several, found = jobs.plan(["checkpoints"])
    assert (False, True) == (several.call.alone, len(found) > 1)
    assert jobs.plan([found[0].folder])[0].call.alone


def test_relative_paths_lead_nowhere_in_another_folder(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, found = jobs.plan(["checkpoints"])
    monkeypatch.chdir("/")
    with ThreadPoolExecutor(1) as executor, pytest.raises(UsageError, match="absolute paths"):
        list(jobs.outcomes(job, found, kept, executor=executor))


def test_progress_tells_the_bytes_of_each_file_wherever_it_is_read(drive: Path) -> None:
    def read(**spread: Any) -> Counter[Path]:
        found: Counter[Path] = Counter()
        job, units = jobs.plan(["checkpoints"], deep=True)
        list(jobs.outcomes(job, units, kept, progress=lambda path, count: found.update({path: count}), **spread))
        return +found

    with ThreadPoolExecutor(2) as executor:
        assert read() == read(executor=executor)


def fatal(parent: int, finding: Finding, path: Path) -> bool:
    """Kills a worker that judges the file that is cut off."""
    if os.getpid() != parent and finding.code == "F101" and "COS" in str(path):
        os.abort()
    return False


@pytest.mark.long
def test_a_lost_run_is_a_finding_on_each_of_its_files(drive: Path) -> None:
    job, found = jobs.plan(["checkpoints"], silenced=partial(fatal, os.getpid()))
    runs = {unit.folder: run for unit, run in jobs.outcomes(job, found, kept, jobs=2)}
    whole = {run.run.path: run for run in scan().runs}
    assert runs.keys() == whole.keys()
    for path, run in runs.items():
        codes = {finding.code for file in run.files for finding in file.findings}
        if path.name.endswith("COS"):
            assert {"F106"} == codes
            assert {("broken", "impossible")} == {(file.verdict, file.resume) for file in run.files}
            assert "died" in run.files[0].findings[0].message
            assert run.advice is not None
            assert run.advice.kind == "none"
        else:
            assert codes == {finding.code for file in whole[path].files for finding in file.findings}
        assert [file.checkpoint.path for file in run.files] == [file.checkpoint.path for file in whole[path].files]
