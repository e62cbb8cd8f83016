"""What was recovered from a damaged file, and what is lost."""

from __future__ import annotations

from ckpt_doctor.reports import text
from ckpt_doctor.types import SalvageResult

GOOD_FOR = {
    "resume": "nothing that a trainer needs is missing: it can resume from it",
    "weights": "the model is whole: good for evaluation or as initial weights, not enough for a resume",
    "parts": "the model is not whole: good only for the tensors that it has",
}
MOST_NAMES = 12


def salvaged(result: SalvageResult, *, width: int = 80) -> str:
    """Counts, the names of what is lost, and what the new file is good for."""
    total = len(result.recovered) + len(result.lost)
    lines = text.wrap(
        f"{text.clean(result.output)}: {len(result.recovered):,} of {text.plural(total, 'tensor')} recovered, "
        f"{text.size(result.nbytes)}",
        width,
    )
    listed = (
        ("lost", result.lost),
        ("taken apart into the plain tensors they are made of", result.taken_apart),
        ("left out (no plain values)", result.left_out),
    )
    for title, names in listed:
        lines += [f"  {title}:"] if names else []
        lines += [f"    {text.shorten(text.clean(name), width - 4)}" for name in names[:MOST_NAMES]]
        lines += [f"    ... and {len(names) - MOST_NAMES:,} more"] if len(names) > MOST_NAMES else []
    return "\n".join([*lines, *text.wrap(f"{GOOD_FOR[result.good_for]}.", width)]) + "\n"
