"""A run -> the checkpoint to resume from, as it is or after a repair, and why newer ones were passed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpt_doctor import audit
from ckpt_doctor.advice.advising import advised, unfit
from ckpt_doctor.advice.invocation import Invocation
from ckpt_doctor.types import FileReport, Given, Latest, Report, Run, RunReport

if TYPE_CHECKING:
    from ckpt_doctor.audit.remembered import Memory


def latest(
    run_dir: Path | str,
    *,
    facts: Given | None = None,
    logs: Sequence[Path | str] = (),
    ignore: Sequence[str] = (),
    trust: Sequence[str] = (),
    repairable: bool = False,
    deep: bool = False,
    trainer: str = "",
) -> tuple[Path | None, list[tuple[Path, str]]]:
    """Find the newest checkpoint of a run that is safe to resume from.

    Newest means furthest in training, not the highest number in a name. One from which a resume leaves the
    uninterrupted run's path for good is taken only where no older one stays on it.

    Args:
        run_dir: the folder of one run.
        facts, logs, ignore, trust, trainer: as for `scan`.
        repairable: also accept a checkpoint that `migrate` cures with the evidence at hand.
        deep: read the candidate to its last byte, and pass over it when that shows damage or NaN. What was seen is
            remembered in the run folder, as by `prune`, so that each file is read once.

    Returns:
        Its path, or None where none is safe; and each newer one that was passed over, with the reason.

    Raises:
        UsageError: `run_dir` does not exist, is a file, or has several runs below it.

    Example:
        >>> path, passed_over = latest("checkpoints/run", repairable=True)
    """
    found = find_latest(
        audit.one_run(run_dir),
        facts=facts,
        logs=logs,
        ignore=ignore,
        trust=trust,
        repairable=repairable,
        deep=deep,
        trainer=trainer,
    )
    return found.file.checkpoint.path if found.file else None, list(found.passed_over)


def find_latest(run_dir: Path, *, repairable: bool = False, deep: bool = False, **given: Any) -> Latest:
    """As `latest`, whose other arguments are `given`, with the advice on the run, and with what else is to be said of
    the chosen one as the gate judges it."""
    report = audit.scan(run_dir, **given)
    asked = Invocation(**audit.stated(given), paths=(run_dir,), alone=len(report.runs) == 1)
    runs = [(run, advised(run, asked)) for run in report.runs]
    memory = _memory(report, asked) if deep else None
    while True:
        files = [(file, run.run) for _, run in runs for file in run.files]
        chosen, safe = _chosen(files, repairable)
        if memory is None or chosen is None or memory.is_sound(chosen):
            break
        runs = [_read_through(judged, run, chosen, asked, memory) for judged, run in runs]
    passed_over = _passed_over(files, chosen, safe)
    advice = next((run.advice for _, run in runs if run.advice is not None), None)
    if chosen is None:
        return Latest(run_dir, None, tuple(passed_over), advice)
    gate = audit.check(chosen.checkpoint.path, **given).files[0]
    return Latest(run_dir, gate, tuple(passed_over), advice)


def _memory(report: Report, asked: Invocation) -> Memory:
    from ckpt_doctor.audit.remembered import Memory  # which writes, as no scan does

    return Memory(asked.paths[0], report.files, asked.ignore, asked.trust)


def _read_through(
    judged: RunReport, run: RunReport, chosen: FileReport, asked: Invocation, memory: Memory
) -> tuple[RunReport, RunReport]:
    """The run, judged with every byte of the chosen file read, and advised anew."""
    path = chosen.checkpoint.path
    if all(file.checkpoint.path != path for file in judged.files):
        return judged, run
    files = tuple(
        memory.read_through(file, judged.run) if file.checkpoint.path == path else file for file in judged.files
    )
    deeper = replace(judged, files=files)
    return deeper, advised(deeper, asked)


def _chosen(files: Sequence[tuple[FileReport, Run]], repairable: bool) -> tuple[FileReport | None, list[FileReport]]:
    accepted = ("ok", "repairable") if repairable else ("ok",)
    newest_first = [file for file, _ in sorted(files, key=audit.progress, reverse=True)]
    safe = [f for f in newest_first if audit.is_resumable(f) and f.verdict in accepted and not f.asks]
    return audit.preferred(safe), safe


def _passed_over(
    files: Sequence[tuple[FileReport, Run]], chosen: FileReport | None, safe: Sequence[FileReport]
) -> list[tuple[Path, str]]:
    """The newer ones, each with what was found in it."""
    passed_over: list[tuple[Path, str]] = []
    for file, _ in sorted(files, key=audit.progress, reverse=True):
        if file is chosen:
            break
        named = told = ", ".join(dict.fromkeys(f"{f.code} {f.name}" for f in file.serious))
        if chosen is not None and file in safe:
            told = "; ".join(f"{f.code} {f.name}: {f.message}" for f in file.serious if f.code in audit.departs(file))
            older = "continues identically" if chosen.keeps_its_path else "has none of these"
            told = f"{told or named}; an older one {older}"
        passed_over.append((file.checkpoint.path, told or unfit(file)))
    return passed_over
