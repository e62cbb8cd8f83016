"""Which checkpoint to resume from: what else a person should know of it, and what to do where there is none."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.reports.text import quoted
from ckpt_doctor.types import Latest


def notes(found: Latest) -> Iterator[str]:
    """Why newer ones were passed over, and what is left to do or to give, a sentence each."""
    for path, reason in found.passed_over:
        yield f"passed over {path}: {reason}"
    if found.file is None:
        yield f"no checkpoint in {found.run_dir} is safe to resume from{_way_out(found)}"
        return
    for finding in found.file.serious:
        cure = finding.fix or "no edit of the file cures that"
        yield f"{found.file.checkpoint.path}: {finding.code} {finding.name}: {cure}"


def _way_out(found: Latest) -> str:
    if found.refusals:
        return f"; {found.refusals[0].reason}; give {found.refusals[0].settle}"
    if found.repairable is None:
        return ""
    claim = f" --trainer {found.claimed}" if found.claimed else ""
    return f"; `ckpt-doctor migrate --all{claim} {quoted(found.repairable)}` puts one right"
