"""What a command has written or removed: a prune, a salvage, an export, a sample run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ckpt_doctor.reports import text
from ckpt_doctor.types import ExportResult, PruneResult, SalvageResult

GOOD_FOR = {
    "resume": "nothing that a trainer needs is missing: it can resume from it",
    "weights": "the model is whole: good for evaluation or as initial weights, not enough for a resume",
    "parts": "the model is not whole: good only for the tensors that it has",
}
MOST_NAMES = 12


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


def salvaged(result: SalvageResult, *, width: int = 80) -> str:
    """How many tensors of a damaged file were recovered, what is lost, and what the new file is good for."""
    total = text.plural(len(result.recovered) + len(result.lost), "tensor")
    recovered = f"{len(result.recovered):,} of {total} recovered, {text.size(result.nbytes)}"
    lines = text.wrap(f"{text.clean(result.output)}: {recovered}", width)
    for title, names in (
        ("lost", result.lost),
        ("taken apart into the plain tensors they are made of", result.taken_apart),
        ("left out (no plain values)", result.left_out),
    ):
        lines += _named(title, map(text.clean, names), width)
    return "\n".join([*lines, *text.wrap(f"{GOOD_FOR[result.good_for]}.", width)]) + "\n"


def exported(result: ExportResult, *, width: int = 80) -> str:
    """How many tensors were written alone, which names share bytes, and what was no tensor."""
    count = text.plural(len(result.written), "tensor")
    lines = text.wrap(f"{text.clean(result.output)}: {count}, {text.size(result.nbytes)}", width)
    shared = (f"{text.clean(name)} = {text.clean(kept)}" for name, kept in result.shared.items())
    lines += _named("written once under the second name", shared, width)
    lines += _named("left out", map(text.clean, result.left_out), width)
    return "\n".join(lines) + "\n"


def _named(title: str, names: Iterable[str], width: int) -> Iterator[str]:
    """Names under a title, the first of many; nothing where there are none."""
    names = list(names)
    if names:
        yield from text.wrap(f"{title}:", width, "  ", "  ")
    yield from (f"    {text.shorten(name, width - 4)}" for name in names[:MOST_NAMES])
    if len(names) > MOST_NAMES:
        yield f"    ... and {len(names) - MOST_NAMES:,} more"


def demonstrated(folder: Path, files: Sequence[Path], command: str) -> str:
    """A sample run that was made in a folder, and the command to go on with."""
    logs = sum(path.suffix == ".log" for path in files)
    checkpoints = text.plural(len(files) - logs, "checkpoint")
    made = f"{text.clean(folder)}: {checkpoints} and the log of a training run that died"
    return f"{made}\nnext: {text.clean(command)}\n"
