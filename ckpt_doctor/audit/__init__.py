"""Paths -> Report: find the checkpoints, read them inertly, understand the run, judge."""

from ckpt_doctor.audit.discovery import checkpoint_files, existing, existing_logs
from ckpt_doctor.audit.judging import (
    case_of,
    codes,
    counting,
    is_damaged,
    is_ours,
    judge,
    packages,
    resume_of,
    verdict_of,
)
from ckpt_doctor.audit.newest import departs, latest, preferred, progress
from ckpt_doctor.audit.opening import open_file
from ckpt_doctor.audit.runs import find_runs, one_run, resume_file, understand, with_siblings
from ckpt_doctor.audit.scanning import DEFAULT_PATH, check, check_all, curves, read_through, scan
from ckpt_doctor.audit.statistics import measured

__all__ = [
    "DEFAULT_PATH",
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
    "is_damaged",
    "is_ours",
    "judge",
    "latest",
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
    "understand",
    "verdict_of",
    "with_siblings",
]
