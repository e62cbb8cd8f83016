"""ckpt-doctor: will a training run resume correctly from this checkpoint, and if not, repair the file.

The public names below are loaded when they are first used; none of them imports torch unless it is handed torch
objects."""

from __future__ import annotations

from importlib import import_module

from ckpt_doctor.version import __version__

TYPE_CHECKING = False  # to a type checker it is true; `typing` itself is imported once `cli` has seen to the collector
if TYPE_CHECKING:
    from typing import Any

    from ckpt_doctor.advice import latest, scan
    from ckpt_doctor.audit import open_file as open_checkpoint
    from ckpt_doctor.rehearsal.recording import record
    from ckpt_doctor.repair import migrate, undo
    from ckpt_doctor.trainers.facts import facts
    from ckpt_doctor.training.pruning import prune
    from ckpt_doctor.training.resume import check_resume
    from ckpt_doctor.training.saving import atomic_save

_HOMES = {
    "atomic_save": "training.saving",
    "check_resume": "training.resume",
    "facts": "trainers.facts",
    "latest": "advice",
    "migrate": "repair",
    "open_checkpoint": "audit",
    "prune": "training.pruning",
    "record": "rehearsal.recording",
    "scan": "advice",
    "undo": "repair",
}
_NAMED_THERE = {"open_checkpoint": "open_file"}
"""Where a public name is another one in the package: `readers.open_checkpoint` opens single files only."""

__all__ = [
    "__version__",
    "atomic_save",
    "check_resume",
    "facts",
    "latest",
    "migrate",
    "open_checkpoint",
    "prune",
    "record",
    "scan",
    "undo",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), _NAMED_THERE.get(name, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
