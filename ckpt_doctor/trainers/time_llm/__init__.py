"""Time-LLM: what its trainer writes, and how it resumes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor.trainers.time_llm import layout
from ckpt_doctor.trainers.time_llm.command import TABLE
from ckpt_doctor.trainers.trainer import Judging, Trainer
from ckpt_doctor.types import Checkpoint

if TYPE_CHECKING:
    from ckpt_doctor.migrators import Fix


def _recognises(folder: Path, checkpoints: Sequence[Checkpoint], logs: Sequence[Path]) -> Collection[Path]:
    """Those that fit, where one of them carries a sign of this trainer, or a log of the run lies near."""
    ours = [checkpoint for checkpoint in checkpoints if layout.fits(checkpoint)]
    if not ours or not (any(map(layout.is_signed, ours)) or _has_log(folder, logs)):
        return ()
    return {checkpoint.path for checkpoint in ours}


def _has_log(folder: Path, logs: Sequence[Path]) -> bool:
    """Whether a log speaks of this run folder in this trainer's lines."""
    from ckpt_doctor.trainers.time_llm.near_logs import logs_near

    if not logs and not logs_near(folder):
        return False
    from ckpt_doctor.trainers.time_llm.history import read_history

    history, _, _ = read_history(folder, (), logs)
    return history is not None and history.confirmed


def _judging() -> Judging:
    from ckpt_doctor.trainers.time_llm.judging import JUDGING

    return JUDGING


def _fixes() -> Sequence[Fix]:
    from ckpt_doctor.trainers.time_llm.fixes import FIXES

    return FIXES


TIME_LLM = Trainer(
    name="time-llm",
    title="Time-LLM",
    run_of=layout.run_of,
    siblings=layout.siblings,
    resume_target=layout.resume_target,
    prunable=layout.prunable,
    recognises=_recognises,
    reads=layout.reads,
    member_of=layout.member_of,
    judging=_judging,
    fixes=_fixes,
    facts=TABLE,
)
