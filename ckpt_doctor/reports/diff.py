"""What differs between two checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ckpt_doctor.reports import text
from ckpt_doctor.types import Comparison, Difference

MOST_LINES = 60
"""Differences of one kind that the text lists; the JSON has all."""


def compared(comparison: Comparison, left: Path, right: Path, *, width: int = 80, color: bool = False) -> str:
    """Values first, then tensors; `-` stands only in A, `+` only in B, `~` in both and differs."""
    lines = [f"- {text.clean(left)}", f"+ {text.clean(right)}"]
    for title, items in (("values", comparison.values), ("tensors", comparison.tensors)):
        if items:
            lines += ["", f"{title} ({text.plural(len(items), 'difference')})", *rows(items, width, color)]
    same = text.plural(comparison.unchanged_tensors, "tensor")
    how = "byte for byte" if comparison.deep else "in type and shape; their bytes were not compared (--deep)"
    lines += ["", *text.wrap(f"{same} the same {how}.", width)]
    if comparison.not_compared:
        names = text.listing(map(text.clean, comparison.not_compared))
        lines += text.wrap(f"Not compared, because their bytes can't be read: {names}.", width)
    return "\n".join(lines) + "\n"


def rows(items: Sequence[Difference], width: int, color: bool) -> list[str]:
    """A line for each difference; two where name and change don't fit beside each other."""
    shown = items[:MOST_LINES]
    signs = [{"added": "+", "removed": "-"}.get(item.kind, "~") for item in shown]
    names = [
        f"{sign} {text.shorten(text.clean(item.name), width - 6)}" for sign, item in zip(signs, shown, strict=True)
    ]
    pairs = [(name, text.shorten(change(item), width - 6)) for name, item in zip(names, shown, strict=True)]
    # A column for the names where most changes fit beside it; a name or change too long for that gets its own line
    room = min(max(map(text.display_width, names)), width - 28)
    fits = [text.display_width(n) <= room and room + text.display_width(c) + 4 <= width for n, c in pairs]
    beside = iter(text.grid([pair for pair, fit in zip(pairs, fits, strict=True) if fit], "<<"))
    lines = [next(beside) if fit else f"  {n}\n      {c}" for (n, c), fit in zip(pairs, fits, strict=True)]
    lines = [text.styled(line, sign, color) for line, sign in zip(lines, signs, strict=True)]
    return [*lines, f"  ... and {len(items) - len(shown):,} more"] if len(items) > len(shown) else lines


def change(item: Difference) -> str:
    """`45 -> 90`; what stands in only one file as it is. Look-alikes have their types: `4 (str) -> 4 (int)`."""
    if item.kind == "added":
        return text.brief(item.right)
    if item.kind == "removed" or (item.right is None and item.kind == "bytes"):
        return text.brief(item.left)
    kind = "" if item.kind == "changed" else f"{item.kind} "
    left, right = text.brief(item.left), text.brief(item.right)
    if left == right and type(item.left) is not type(item.right):
        left, right = f"{left} ({type(item.left).__name__})", f"{right} ({type(item.right).__name__})"
    return f"{kind}{left} -> {right}"
