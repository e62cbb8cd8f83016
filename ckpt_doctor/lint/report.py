"""What linting returns: one report per script, with findings that carry their place and a replacement."""

from __future__ import annotations

from pathlib import Path

from ckpt_doctor.types import Located, NotChecked
from ckpt_doctor.types.record import record


@record(frozen=True)
class ScriptFinding(Located):
    """A finding in source code: `where` is `file:line`, in a notebook `file:cell N:line`, `fix` is the suggestion as
    one line of text."""

    open_to: tuple[Path, int] | None = None
    """File and first line of the function, where a script that calls it decides whether this is a defect."""


@record(frozen=True)
class ScriptReport:
    """One linted file."""

    path: Path
    findings: tuple[ScriptFinding, ...]
    """In line order."""
    not_checked: tuple[NotChecked, ...] = ()
    """Files or cells that are not readable Python, and questions that the code leaves open."""
    suppressed: tuple[ScriptFinding, ...] = ()
    """Findings that a `# ckpt-doctor: ignore[CODE]` comment silences."""
