"""Paths -> Report with advice: what `scan`, `check` and `migrate` begin or end with."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpt_doctor import audit
from ckpt_doctor.advice.advising import advised
from ckpt_doctor.advice.better import with_better
from ckpt_doctor.advice.invocation import Invocation
from ckpt_doctor.advice.jobs import Unit, outcomes, plan
from ckpt_doctor.audit import Counts, Progress
from ckpt_doctor.types import Checkpoint, Given, Report, RunReport

if TYPE_CHECKING:
    from concurrent.futures import Executor


def scan(
    paths: Path | str | Sequence[Path | str] = (audit.DEFAULT_PATH,),
    *,
    facts: Given | None = None,
    deep: bool = False,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    trust: Sequence[str] = (),
    logs: Sequence[Path | str] = (),
    progress: Progress | None = None,
    trainer: str = "",
    silenced: Counts | None = None,
    outlines: bool = False,
    read: Mapping[Path, Checkpoint] | None = None,
    executor: Executor | None = None,
) -> Report:
    """Audit files, units and run folders, read-only: is each whole, and would a resume from it continue the run?

    Args:
        paths: files, folders of checkpoints, or any tree.
        facts: what is known of the training command (`ckpt_doctor.facts`); it outranks what is inferred.
        deep: read every byte, to compare stored checksums and to look for NaN and infinity.
        select: keep only findings of these codes, beginnings of codes, or names: `E601`, `E`, `missing-best-score`.
        ignore: the same, for findings that do not count.
        trust: packages that loading a file may call into (S204).
        logs: training logs, instead of those that are found near the runs.
        progress: called with a file and the bytes of it read since the last call.
        trainer: name of the trainer for which a person claims the files, `hf` for example; empty: each run's is
            recognised.
        silenced: says of a finding and the path of its file whether it is accepted.
        outlines: keep of each checkpoint what reports show (keys, counts, training state, findings), not its content:
            for trees of thousands of files.
        read: checkpoints that were read before, by their paths: they are not read again where they are unchanged.
        executor: judges the runs, each by itself; any of `concurrent.futures`, or Dask's `client.get_executor()`. Its
            workers need the same ckpt-doctor and the same paths. What a run comes to travels back whole, or with
            `outlines` in a tenth of the bytes; `ckpt-doctor scan --jobs` sends text.

    Returns:
        A report: runs in the order of their paths, each with its files and its advice.

    Raises:
        UsageError: a path or a log that does not exist; a rule, package or trainer that does not.
        BrokenExecutor: the executor lost a worker process, and with it all that it had still to do.

    Example:
        >>> report = scan(["checkpoints"], facts=facts(steps_per_epoch=45))
        >>> [(file.verdict, file.resume) for file in report.files]
        [('repairable', 'differs')]
    """
    began = time.monotonic()
    job, units = plan(
        paths,
        facts=facts,
        deep=deep,
        select=select,
        ignore=ignore,
        trust=trust,
        logs=logs,
        trainer=trainer,
        silenced=silenced,
        outlines=outlines,
        read=read,
    )
    found = {unit.number: run for unit, run in outcomes(job, units, _kept, executor=executor, progress=progress)}
    runs = [found[unit.number] for unit in units]
    taken = {log for run in runs if (log := own_log(run)) is not None}
    runs = [without_logs(run, taken) for run in runs]
    return Report(tuple(runs), time.monotonic() - began, job.call.paths, audit.shown)


def _kept(run: RunReport, _unit: Unit) -> RunReport:
    return run


def own_log(run: RunReport) -> Path | None:
    """The log that a run has taken for its own."""
    log = run.run.facts.log
    return None if log is None else log.value.absolute()


def without_logs(run: RunReport, taken: Collection[Path]) -> RunReport:
    """The run, whose advice names no log that another run of the report has taken for its own."""
    if run.advice is None or not run.advice.left_logs:
        return run
    left = tuple(log for log in run.advice.left_logs if log.path.absolute() not in taken)
    return replace(run, advice=replace(run.advice, left_logs=left))


def check(path: Path | str, *, select: Sequence[str] = (), **given: Any) -> Report:
    """Judge the one checkpoint that a trainer would resume from, and name a better one that lies beside it.

    Arguments as of `scan`; a folder stands for the file that the trainer takes from it.
    """
    report = audit.check(path, **given)
    call = Invocation(**audit.stated(given), paths=report.paths)
    run = report.runs[0]
    judged = with_better(advised(run, call), run, call)
    return replace(report, runs=(audit.selected(judged, select),))
