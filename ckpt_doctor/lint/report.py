"""What linting returns: one report per script, with findings that carry their place and a replacement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ckpt_doctor.types import Located, NotChecked


@dataclass(frozen=True)
class ScriptReport:
    """One linted file."""

    path: Path
    findings: tuple[Located, ...]
    """In line order."""
    not_checked: tuple[NotChecked, ...] = ()
    """Files or cells that are no readable Python, and questions that the code leaves open."""
    suppressed: tuple[Located, ...] = ()
    """Findings that a `# ckpt-doctor: ignore[CODE]` comment silences."""
