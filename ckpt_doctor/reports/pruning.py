"""What pruning kept and removed."""

from __future__ import annotations

from ckpt_doctor.reports import text
from ckpt_doctor.types import PruneResult


def pruned(result: PruneResult, *, width: int = 80) -> str:
    """One line per folder, and what it comes to."""
    verb = "would be removed" if result.dry_run else "removed"
    rows = [(verb, text.clean(path.name)) for path in result.removed]
    rows += [("spared", f"{text.clean(s.path.name)}: {text.clean(s.reason)}") for s in result.spared]
    codes = {why.path: f": {', '.join(why.codes)}" for why in result.reasons if why.codes}
    for label, folders in (("kept, not resumable", result.uncounted), ("kept, not identical", result.departing)):
        rows += [(label, f"{text.clean(path.name)}{codes.get(path, '')}") for path in folders]
    marked = result.preferred if result.departing else None
    for path in result.kept:
        rows.append(("kept", text.clean(path.name) + (": `latest` resumes from it" if path == marked else "")))
    freed = f"{text.size(result.freed)} {'would be freed' if result.dry_run else 'freed'}"
    total = f"{text.plural(len(result.removed), 'checkpoint')} {verb}, {freed}; {len(result.kept)} resumable kept"
    total += ", read to the last byte." if result.deep else ", not read to the last byte." if result.removed else "."
    return "\n".join([*text.grid(rows, "<<"), *text.wrap(total, width)]) + "\n"
