"""Proof instead of prediction: record what a training does, and rehearse whether it resumes."""

from ckpt_doctor.rehearsal.assertion import assert_resumes
from ckpt_doctor.rehearsal.divergence import Comparison, Difference, compare
from ckpt_doctor.rehearsal.json_form import comparison_json, loops_json, rehearsal_json
from ckpt_doctor.rehearsal.loop import describe
from ckpt_doctor.rehearsal.recording import new_folder, record, run_recorded
from ckpt_doctor.rehearsal.rehearsing import Rehearsal, rehearse
from ckpt_doctor.rehearsal.stage import RehearsalFailed
from ckpt_doctor.rehearsal.text import comparison_text, loop_text, rehearsal_text
from ckpt_doctor.rehearsal.traces import Trace, read_traces

__all__ = [
    "Comparison",
    "Difference",
    "Rehearsal",
    "RehearsalFailed",
    "Trace",
    "assert_resumes",
    "compare",
    "comparison_json",
    "comparison_text",
    "describe",
    "loop_text",
    "loops_json",
    "new_folder",
    "read_traces",
    "record",
    "rehearsal_json",
    "rehearsal_text",
    "rehearse",
    "run_recorded",
]
