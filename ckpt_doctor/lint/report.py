"""What linting returns: one report per script, with findings that carry their place and a replacement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ckpt_doctor.types import Finding, NotChecked


@dataclass(frozen=True)
class ScriptFinding:
    """A `Finding` in source code, with its position."""

    finding: Finding
    """`where` is `file:line`, in a notebook `file:cell N:line`; `fix` is the suggestion as one line of text."""
    path: Path
    """The file that holds the line. It can be a helper module that the linted script imports."""
    line: int
    """1-based; in a notebook, the line of the cell."""
    column: int
    """1-based, in characters of the line."""
    end_line: int
    suggestion: str
    """A short piece of code that may replace the statement, or be added to it."""
    cell: int | None = None
    """1-based number of the notebook cell among all cells; None in a script."""
    excerpt: str = ""
    """The first line of the code in question, without its indentation."""
    open_to: tuple[Path, int] | None = None
    """File and first line of the function, where a script that calls it knows better."""


@dataclass(frozen=True)
class ScriptReport:
    """One linted file."""

    path: Path
    findings: tuple[ScriptFinding, ...]
    """In line order."""
    not_checked: tuple[NotChecked, ...] = ()
    """Files or cells that are no readable Python, and questions that the code leaves open."""
    suppressed: tuple[ScriptFinding, ...] = ()
    """Findings that a `# ckpt-doctor: ignore[CODE]` comment silences."""
