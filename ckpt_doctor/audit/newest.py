"""The newest checkpoint of a run that is safe to resume from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ckpt_doctor.audit.runs import one_run
from ckpt_doctor.audit.scanning import read_through, scan
from ckpt_doctor.types import FileReport, Given, Run

_DEPARTING = frozenset({"F114", "P403", "P405", "P409", "P410", "P411", "P413", "R510", "O705"})


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
        repairable: also accept a checkpoint that `migrate` cures.
        deep: read the candidate to its last byte, and pass over it when that shows damage or NaN.

    Returns:
        Its path, or None where none is safe; and each newer one that was passed over, with the reason.

    Raises:
        UsageError: `run_dir` does not exist, is a file, or has several runs below it.

    Example:
        >>> path, passed_over = latest("checkpoints/run", repairable=True)
    """
    report = scan(one_run(run_dir), facts=facts, logs=logs, ignore=ignore, trust=trust, trainer=trainer)
    accepted = ("ok", "repairable") if repairable else ("ok",)
    files = sorted(((file, run.run) for run in report.runs for file in run.files), key=progress, reverse=True)
    while True:
        safe = [file for file, _ in files if _is_resumable(file) and file.verdict in accepted]
        chosen = preferred(safe)
        if not deep or chosen is None or chosen.checkpoint.deep is not None:
            break
        files = [(read_through(file, run, ignore, trust) if file is chosen else file, run) for file, run in files]
    passed_over: list[tuple[Path, str]] = []
    for file, _ in files:
        if file is chosen:
            return file.checkpoint.path, passed_over
        told = ", ".join(f"{f.code} {f.name}" for f in file.serious)
        if chosen is not None and file in safe:
            told = "; ".join(f"{f.code} {f.name}: {f.message}" for f in file.serious if f.code in departs(file)) or told
            told += f"; an older one {'continues identically' if chosen.keeps_its_path else 'has none of these'}"
        passed_over.append((file.checkpoint.path, told or "not a checkpoint that the trainer resumes from"))
    return None, passed_over


def preferred(newest_first: Sequence[FileReport]) -> FileReport | None:
    """The one of several acceptable files to resume from: the newest that keeps its path, else the newest."""
    return next((file for file in newest_first if not departs(file)), newest_first[0] if newest_first else None)


def _is_resumable(file: FileReport) -> bool:
    """Whether a trainer resumes from it; where the trainer is not known, whether it holds a training state."""
    return file.plan is not None or (not file.trainer and file.checkpoint.layout == "training")


def departs(file: FileReport) -> set[str]:
    """By which codes a resume leaves, or may leave, the uninterrupted run's path for good, whatever is repaired."""
    return {f.code for f in file.findings if f.code in _DEPARTING and f.migration is None and f.severity != "info"}


def progress(judged: tuple[FileReport, Run]) -> tuple[int, int, int]:
    """Sort key: how far training had come; a damaged file by its folder's number, then by time."""
    file = judged[0]
    state, stamp = file.member.state, file.checkpoint.stamp
    counts = (state.global_step, state.optimizer_step, file.member.named_step, state.epoch)
    step = next((count for count in counts if count is not None), None)
    # At the same step: what the trainer itself looks for before a copy under another name (`checkpoint (1).pt`).
    rank = {"best": 2, "step": 1, None: 0}[file.member.role]
    return (-1 if step is None else step, rank, stamp.mtime_ns if stamp else 0)
