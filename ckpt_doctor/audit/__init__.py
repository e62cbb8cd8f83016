"""Paths -> Report: find the checkpoints, read them inertly, understand the run, judge."""

from ckpt_doctor.audit.discovery import checkpoint_files, existing, existing_logs
from ckpt_doctor.audit.judging import (
    Counts,
    case_of,
    codes,
    counting,
    in_short,
    is_damaged,
    is_ours,
    judge,
    packages,
    resume_of,
    selected,
    verdict_of,
    with_findings,
)
from ckpt_doctor.audit.newest import departs, is_resumable, preferred, progress, steps_done
from ckpt_doctor.audit.opening import Progress, open_file
from ckpt_doctor.audit.runs import find_runs, one_run, resume_file, several_runs, understand, with_siblings
from ckpt_doctor.audit.scanning import DEFAULT_PATH, check, check_all, curves, read_through, scan
from ckpt_doctor.audit.statistics import measured

__all__ = [
    "DEFAULT_PATH",
    "Counts",
    "Progress",
    "case_of",
    "check",
    "check_all",
    "checkpoint_files",
    "codes",
    "counting",
    "curves",
    "departs",
    "existing",
    "existing_logs",
    "find_runs",
    "in_short",
    "is_damaged",
    "is_ours",
    "is_resumable",
    "judge",
    "measured",
    "one_run",
    "open_file",
    "packages",
    "preferred",
    "progress",
    "read_through",
    "resume_file",
    "resume_of",
    "scan",
    "selected",
    "several_runs",
    "steps_done",
    "understand",
    "verdict_of",
    "with_findings",
    "with_siblings",
]
