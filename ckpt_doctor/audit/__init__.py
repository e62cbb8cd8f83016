"""Paths -> Report: find the checkpoints, read them inertly, understand the run, judge."""

from ckpt_doctor.audit.discovery import checkpoint_files, existing
from ckpt_doctor.audit.judging import (
    Counts,
    case_of,
    codes,
    counting,
    in_short,
    is_damaged,
    is_ours,
    judge,
    resume_of,
    selected,
    verdict_of,
)
from ckpt_doctor.audit.opening import Progress, open_file
from ckpt_doctor.audit.ranking import departs, is_resumable, preferred, progress, steps_done
from ckpt_doctor.audit.runs import find_runs, one_run, resume_file, several_runs, understand, with_siblings
from ckpt_doctor.audit.scanning import (
    DEFAULT_PATH,
    Ask,
    audit_run,
    check,
    check_all,
    curve_of,
    lost_run,
    read_through,
    runs_below,
    scan,
    shown,
    stated,
)
from ckpt_doctor.audit.statistics import measured
