"""Time-LLM: what its trainer writes, and how it resumes.

Only what recognises a file is loaded at once: most files that are scanned are of no run of this trainer.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ckpt_doctor.trainers.time_llm.layout import (
    STEP_FOLDER,
    find_runs,
    member_of,
    recognises,
    run_folder,
    training_state,
)

if TYPE_CHECKING:
    from ckpt_doctor.trainers.time_llm.facts import infer_facts
    from ckpt_doctor.trainers.time_llm.history import read_history, unread_logs
    from ckpt_doctor.trainers.time_llm.legacy import upgrade

NAME = "time-llm"

_HOMES = {"infer_facts": "facts", "read_history": "history", "unread_logs": "history", "upgrade": "legacy"}

__all__ = [
    "NAME",
    "STEP_FOLDER",
    "find_runs",
    "infer_facts",
    "member_of",
    "read_history",
    "recognises",
    "run_folder",
    "training_state",
    "unread_logs",
    "upgrade",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
