"""Paths -> Report with advice: what `scan`, `check` and `migrate` begin or end with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ckpt_doctor import audit
from ckpt_doctor.advice.advising import advised
from ckpt_doctor.advice.asked import Asked
from ckpt_doctor.audit import Counts, Progress
from ckpt_doctor.inert.counting import outline
from ckpt_doctor.remote import as_path
from ckpt_doctor.types import Advice, Checkpoint, FileReport, Given, Report, RunReport


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

    Returns:
        A report: runs in the order of their paths, each with its files and its advice.

    Raises:
        UsageError: a path or a log that does not exist; a rule, package or trainer that does not.

    Example:
        >>> report = scan(["checkpoints"], facts=facts(steps_per_epoch=45))
        >>> [(file.verdict, file.resume) for file in report.files]
        [('repairable', 'differs')]
    """
    given, named = tuple(audit.existing(paths)), audit.existing_logs(logs)
    counts = audit.counting(ignore, trust, silenced)

    def finish(run: RunReport, alone: bool) -> RunReport:
        asked = Asked(facts or {}, named, ignore, trust, trainer, given, alone)
        judged = audit.selected(_with_better(advised(run, asked), run, asked, counts), select)
        return _outlined(judged) if outlines else judged

    report = audit.scan(
        given,
        facts=facts,
        deep=deep,
        ignore=ignore,
        trust=trust,
        logs=logs,
        progress=progress,
        trainer=trainer,
        silenced=silenced,
        read=read,
        finish=finish,
    )
    taken = {log.value.absolute() for run in report.runs if (log := run.run.facts.log) is not None}
    return replace(report, runs=tuple(_without_logs(run, taken) for run in report.runs))


def _outlined(run: RunReport) -> RunReport:
    """The run with outlines of its checkpoints, and without what only its judgement needs."""
    files = tuple(map(_outlined_file, run.files))
    return replace(run, run=replace(run.run, members=(), history=None, placed={}), files=files)


def _outlined_file(file: FileReport) -> FileReport:
    parts = tuple(map(_outlined_file, file.parts))
    outlined = outline(file.checkpoint, tuple(part.checkpoint for part in parts))
    return replace(file, member=replace(file.member, checkpoint=outlined), parts=parts)


def _without_logs(run: RunReport, taken: Collection[Path]) -> RunReport:
    """The run, whose advice names no log that another run of the report has taken for its own."""
    if run.advice is None or not run.advice.left_logs:
        return run
    left = tuple(log for log in run.advice.left_logs if log.path.absolute() not in taken)
    return replace(run, advice=replace(run.advice, left_logs=left))


def check(
    path: Path | str,
    *,
    facts: Given | None = None,
    logs: Sequence[Path | str] = (),
    deep: bool = False,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    trust: Sequence[str] = (),
    progress: Progress | None = None,
    trainer: str = "",
    silenced: Counts | None = None,
) -> Report:
    """Judge the one checkpoint that a trainer would resume from, and name a better one that lies beside it.

    Arguments as of `scan`; a folder stands for the file that the trainer takes from it.
    """
    report = audit.check(
        as_path(path),
        facts=facts,
        logs=logs,
        deep=deep,
        ignore=ignore,
        trust=trust,
        progress=progress,
        trainer=trainer,
        silenced=silenced,
    )
    asked = Asked(facts or {}, audit.existing_logs(logs), ignore, trust, trainer, report.paths)
    run = report.runs[0]
    judged = _with_better(advised(run, asked), run, asked, audit.counting(ignore, trust, silenced))
    return replace(report, runs=(audit.selected(judged, select),))


def _with_better(judged: RunReport, run: RunReport, asked: Asked, counts: Counts) -> RunReport:
    """The run, whose advice names a better checkpoint that lies beside those that were asked for."""
    better = _better(run, judged.advice, asked, counts)
    return judged if judged.advice is None else replace(judged, advice=replace(judged.advice, better=better))


def _better(run: RunReport, advice: Advice | None, asked: Asked, counts: Counts) -> Advice | None:
    """What the whole run's advice is, where that is another checkpoint than the one that is judged."""
    mine = {file.checkpoint.path for file in run.files}
    others = [member for member in run.run.members if member.checkpoint.path not in mine]
    if not others or advice is None:
        return None
    files = tuple(audit.judge(audit.case_of(member, run.run), counts) for member in others)
    whole = advised(replace(run, findings=(), files=(*run.files, *files)), asked)
    best = whole.advice
    if best is None or best.path is None or best.path in mine or best.kind in ("none", "not judged"):
        return None
    if advice.path is not None and whole.copies.get(advice.path) == best.path:
        return None
    return best
