"""Which checkpoint to resume from: what to do about its run, and what else a person should know of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ckpt_doctor.reports import text
from ckpt_doctor.reports.answer import answer, laid_out
from ckpt_doctor.types import Latest


def notes(found: Latest, width: int) -> Iterator[str]:
    """What to do, then why newer ones were passed over and what is left to do for the one that is safe as it is."""
    if found.advice is not None:
        yield from laid_out(answer(found.advice), width)
    for path, reason in found.passed_over:
        yield f"passed over {_within(found.run_dir, path)}: {reason}"
    if found.advice is None and not found.passed_over:
        yield f"no checkpoint in {text.clean(found.run_dir)} is safe to resume from: none lies there"
        return
    if found.file is None:
        yield f"no checkpoint in {found.run_dir} is safe to resume from as it is"
        return
    for finding in found.file.serious:
        cure = finding.fix or "no edit of the file cures that"
        if not finding.migration:  # else the answer has the command
            yield f"{_within(found.run_dir, found.file.checkpoint.path)}: {finding.code} {finding.name}: {cure}"


def _within(folder: Path, path: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) and path != folder else path


def choices(folder: Path, runs: Sequence[Path]) -> Iterator[str]:
    """A command for each of several runs."""
    yield f"{text.clean(folder)} holds {len(runs)} runs; a command for each:"
    for run in runs:
        yield f"  ckpt-doctor latest {text.quoted(run)}"
