"""What differs between two checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckpt_doctor.reports import text
from ckpt_doctor.reports.json_v1 import dumps, plain
from ckpt_doctor.types import Comparison, Difference

MOST_LINES = 60
"""Differences of one kind that the text lists; the JSON has all."""


def differences(comparison: Comparison, left: Path, right: Path, *, width: int = 80, color: bool = False) -> str:
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
    """One line per difference."""
    shown = items[:MOST_LINES]
    names = [text.shorten(text.clean(item.name), width - 6) for item in shown]
    # A column for the names where most changes fit beside it; a name or change too long for that gets its own line
    room = min(max(map(text.display_width, names)), width - 30)
    lines = []
    for item, name in zip(shown, names, strict=True):
        sign = {"added": "+", "removed": "-"}.get(item.kind, "~")
        what = text.shorten(change(item), width - 6)
        fits = text.display_width(name) <= room and room + text.display_width(what) + 6 <= width
        line = f"  {sign} {text.pad(name, room)}  {what}" if fits else f"  {sign} {name}\n      {what}"
        lines.append(text.styled(line, {"+": "green", "-": "red", "~": "yellow"}[sign], color))
    return [*lines, f"  ... and {len(items) - len(shown):,} more"] if len(items) > len(shown) else lines


def change(item: Difference) -> str:
    """`45 -> 90`; what stands in only one file as it is."""
    if item.kind == "added":
        return text.brief(item.right)
    if item.kind == "removed" or (item.right is None and item.kind == "bytes"):
        return text.brief(item.left)
    kind = "" if item.kind == "changed" else f"{item.kind} "
    return f"{kind}{text.brief(item.left)} -> {text.brief(item.right)}"


def differences_json(comparison: Comparison, left: Path, right: Path) -> str:
    """The same as JSON."""

    def entries(items: Sequence[Difference]) -> list[dict[str, Any]]:
        return [{"key": d.name, "kind": d.kind, "left": plain(d.left), "right": plain(d.right)} for d in items]

    return dumps(
        {
            "version": 1,
            "left": str(left),
            "right": str(right),
            "values": entries(comparison.values),
            "tensors": entries(comparison.tensors),
            "unchanged_tensors": comparison.unchanged_tensors,
            "deep": comparison.deep,
            "not_compared": list(comparison.not_compared),
        }
    )
