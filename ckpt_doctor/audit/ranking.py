"""How far the checkpoints of a run are, and which of several that are safe is the one to resume from."""

from __future__ import annotations

from collections.abc import Sequence

from ckpt_doctor.inert.moments import number_of
from ckpt_doctor.inert.shapes import find
from ckpt_doctor.types import FileReport, Member, Run
from ckpt_doctor.types.record import kept
from ckpt_doctor.validators.series import original_of

_DEPARTING = frozenset({"F114", "P403", "P405", "P409", "P410", "P411", "P413", "R510", "O705"})


def preferred(newest_first: Sequence[FileReport]) -> FileReport | None:
    """The one of several acceptable files to resume from: the newest that keeps its path, else the newest."""
    return next((file for file in newest_first if not departs(file)), newest_first[0] if newest_first else None)


def is_resumable(file: FileReport) -> bool:
    """Whether a trainer resumes from it; where the trainer is not known, whether it holds a training state."""
    if file.plan is not None or file.trainer:
        return file.plan is not None
    shapes = find(file.checkpoint)
    is_other = file.checkpoint.layout == "other" and bool(file.checkpoint.parts)  # a folder with more than weights
    return file.checkpoint.layout == "training" or is_other or bool(shapes.optimizers) or "param_groups" in shapes.names


def departs(file: FileReport) -> set[str]:
    """By which codes a resume leaves, or may leave, the uninterrupted run's path for good, whatever is repaired."""
    return {f.code for f in file.findings if f.code in _DEPARTING and f.migration is None and f.severity != "info"}


def steps_done(file: FileReport) -> int | None:
    """How many optimizer steps led to a checkpoint, by its own count or its optimizer's; None where neither tells."""
    return _steps(file.member)


def _steps(member: Member) -> int | None:
    own = member.state.global_step
    return member.state.optimizer_step if own is None else own


def _counts(member: Member) -> tuple[int | None, ...]:
    """Steps, the step of the name, epochs."""
    return _steps(member), member.named_step, member.state.epoch


@kept
def _shared(run: Run) -> int:
    """Which of these counts all checkpoints of a run have that have any; the first where there is none: steps are not
    held against epochs."""
    told = [counts for counts in map(_counts, run.members) if any(count is not None for count in counts)]
    return next((at for at in range(3) if all(counts[at] is not None for counts in told)), 0)


def progress(judged: tuple[FileReport, Run]) -> tuple[int, int, int, int]:
    """Sort key: how far training had come; a damaged file by its folder's number, then by time.

    Folders of shards, whose counts are not read, go by the step in their names (`step-1000`).
    """
    file, run = judged
    stamp, counts = file.checkpoint.stamp, _counts(file.member)
    shared = counts[_shared(run)]
    step = next((count for count in (shared, *counts) if count is not None), None)
    # At the same step: what the trainer itself looks for before a copy under another name (`checkpoint (1).pt`).
    rank = {"best": 2, "step": 1, None: 0}[file.member.role]
    original = original_of(run, file.checkpoint.path)
    name = original or file.checkpoint.path.name
    named = number_of(name) if file.checkpoint.container == "folder" and step is None else None
    times = stamp.mtime_ns if stamp and not original else 0
    return (-1 if step is None else step, rank, -1 if named is None else named, times)
