"""Proof instead of prediction: record what a training does, and rehearse whether it resumes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ckpt_doctor.rehearsal.recording import record
from ckpt_doctor.rehearsal.stage import RehearsalFailed

if TYPE_CHECKING:
    from ckpt_doctor.rehearsal.rehearsing import Rehearsal

__all__ = ["RehearsalFailed", "assert_resumes", "record"]


def assert_resumes(command: Sequence[str] | str, *, resume: str, strict: bool = False, **options: Any) -> Rehearsal:
    """Assert in a test that a training command resumes correctly; see `rehearse` for the other arguments.

    Args:
        command: the training command, as a list or as one line.
        resume: the arguments that make it resume: `--resume {checkpoint}`.
        strict: ask for equal batches, random state and losses as well.

    Returns:
        The rehearsal.

    Raises:
        AssertionError: the resume leaves the uninterrupted run's path; the message is the report.
        RehearsalFailed: the rehearsal came to no result.

    Example:
        >>> assert_resumes("python train.py --save_steps 10", resume="--resume {checkpoint}", kill_after=23)
    """
    from ckpt_doctor.rehearsal.rehearsing import rehearse  # which needs the whole of the package, as recording does not
    from ckpt_doctor.rehearsal.text import rehearsal_text

    result = rehearse(shlex.split(command) if isinstance(command, str) else command, resume, **options)
    if not result.holds(strict=strict):
        raise AssertionError(rehearsal_text(result, strict=strict))
    return result
