"""What a script rule is, and what it yields."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from ckpt_doctor.lint.module import Site
from ckpt_doctor.lint.program import Program
from ckpt_doctor.types import NotChecked, Severity, TrainerManual


@dataclass(frozen=True, eq=False)
class Hit:
    """One place that a rule objects to; the rule's identity is stamped on it afterwards."""

    site: Site
    message: str
    """What the code does and what follows for a resume, in a sentence."""
    suggestion: str
    """Short replacement code."""
    severity: Severity | None = None
    """The severity, where it differs from the rule's own."""
    found: object = None
    expected: object = None
    callers_decide: bool = False
    """Whether a script that calls this code decides: it may hold the lock itself."""


Check: TypeAlias = Callable[[Program], Iterable["Hit | NotChecked"]]


@dataclass(frozen=True)
class ScriptRule:
    """A rule for training scripts. The docstring of `check` is its manual."""

    code: str
    name: str
    severity: Severity
    check: Check
    by_trainers: tuple[TrainerManual, ...] = ()
    """None: no trainer has rules for scripts."""

    @property
    def manual(self) -> str:
        """What `ckpt-doctor rule CODE` prints."""
        return inspect.getdoc(self.check) or ""
