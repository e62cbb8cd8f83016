"""What pruning kept and removed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ckpt_doctor.reports import text
from ckpt_doctor.reports.json_v1 import dumps


class Spared(Protocol):
    """A folder beyond the limit that stays."""

    @property
    def path(self) -> Path:
        """The folder."""

    @property
    def reason(self) -> str:
        """Why it stays."""


class Result(Protocol):
    """What pruning did, or would do."""

    @property
    def kept(self) -> Sequence[Path]:
        """Those that count, newest first."""

    @property
    def uncounted(self) -> Sequence[Path]:
        """Those that the trainer can't resume from."""

    @property
    def removed(self) -> Sequence[Path]:
        """Those that went, or would go."""

    @property
    def spared(self) -> Sequence[Spared]:
        """Those that stay although they are beyond the limit."""

    @property
    def freed(self) -> int:
        """Bytes on disk."""

    @property
    def dry_run(self) -> bool:
        """Nothing was removed."""


def pruned(result: Result, *, width: int = 80) -> str:
    """One line per folder, and what it comes to."""
    verb = "would be removed" if result.dry_run else "removed"
    rows = [("", verb, text.clean(path.name)) for path in result.removed]
    rows += [("", "spared", f"{text.clean(s.path.name)}: {text.clean(s.reason)}") for s in result.spared]
    rows += [("", "kept, not resumable", text.clean(path.name)) for path in result.uncounted]
    rows += [("", "kept", text.clean(path.name)) for path in result.kept]
    freed = f"{text.size(result.freed)} {'would be freed' if result.dry_run else 'freed'}"
    total = f"{text.plural(len(result.removed), 'checkpoint')} {verb}, {freed}; {len(result.kept)} resumable kept."
    return "\n".join([*text.grid(rows, "<<<"), *text.wrap(total, width)]) + "\n"


def pruned_json(result: Result) -> str:
    """The same as JSON."""
    return dumps(
        {
            "version": 1,
            "dry_run": result.dry_run,
            "removed": [str(path) for path in result.removed],
            "spared": [{"path": str(s.path), "reason": s.reason} for s in result.spared],
            "not_resumable": [str(path) for path in result.uncounted],
            "kept": [str(path) for path in result.kept],
            "freed": result.freed,
        }
    )
