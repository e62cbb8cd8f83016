"""The weights of a checkpoint that were written alone."""

from __future__ import annotations

from ckpt_doctor.reports import text
from ckpt_doctor.types import ExportResult

MOST_NAMES = 12


def exported(result: ExportResult, *, width: int = 80) -> str:
    """How many tensors were written, which names share bytes, and what was no tensor."""
    count = text.plural(len(result.written), "tensor")
    lines = text.wrap(f"{text.clean(result.output)}: {count}, {text.size(result.nbytes)}", width)
    shared = [f"{text.clean(name)} = {text.clean(kept)}" for name, kept in result.shared.items()]
    listed = (
        ("written once under the second name", shared),
        ("left out", [text.clean(name) for name in result.left_out]),
    )
    for title, names in listed:
        lines += [f"  {title}:"] if names else []
        lines += [f"    {text.shorten(name, width - 4)}" for name in names[:MOST_NAMES]]
        lines += [f"    ... and {len(names) - MOST_NAMES:,} more"] if len(names) > MOST_NAMES else []
    return "\n".join(lines) + "\n"
