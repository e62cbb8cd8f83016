"""Time-LLM: what its trainer writes, and how it resumes."""

from ckpt_doctor.trainers.time_llm.curve import curve
from ckpt_doctor.trainers.time_llm.facts import infer_facts
from ckpt_doctor.trainers.time_llm.history import read_history
from ckpt_doctor.trainers.time_llm.layout import find_runs, member_of, recognises, run_folder, training_state
from ckpt_doctor.trainers.time_llm.legacy import upgrade
from ckpt_doctor.trainers.time_llm.resume_point import plan, resume_point, schedule_of

NAME = "time-llm"

__all__ = [
    "NAME",
    "curve",
    "find_runs",
    "infer_facts",
    "member_of",
    "plan",
    "read_history",
    "recognises",
    "resume_point",
    "run_folder",
    "schedule_of",
    "training_state",
    "upgrade",
]
