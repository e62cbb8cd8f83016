"""Drawing in SVG that keeps the size of its text: places across are percentages of the width, heights are pixels.

Lines lie in a layer of their own, which is stretched, for a polyline takes no percentages. Colours and fonts come from
the style sheet (classes `line`, `grid`, `ok`, ...), so a chart follows its theme. Labels of the values stand left of
the drawing, in the margin that the class `plot` gives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from ckpt_doctor.reports.text import clean, rate
from ckpt_doctor.types import Points
from ckpt_doctor.types.record import record

ACROSS = 1000
"""Units of the stretched layer."""
LARGEST = 1e30
"""Beyond this, and below its inverse, a number of a file is not drawn: differences and ratios would overflow."""


@record(frozen=True)
class Scale:
    """Data to places on the drawing."""

    x0: float
    x1: float
    y0: float
    y1: float
    top: int
    bottom: int
    """Pixels between which the values lie."""
    log: bool = False

    def share(self, x: float) -> float:
        """How far across, from 0 to 1."""
        return (x - self.x0) / (self.x1 - self.x0 or 1.0)

    def x(self, x: float) -> str:
        """How far across, in percent."""
        return f"{round(100 * self.share(x), 2):g}%"

    def y(self, y: float) -> float:
        """Pixels from the top; what lies below the axis is drawn on it."""
        if self.log:
            share = math.log(max(y, self.y0) / self.y0) / math.log(self.y1 / self.y0)
        else:
            share = (max(y, self.y0) - self.y0) / (self.y1 - self.y0 or 1.0)
        return round(self.bottom - share * (self.bottom - self.top), 1)

    def points(self, points: Iterable[tuple[float, float]]) -> str:
        """`points` attribute of a line in the stretched layer; values that cannot be drawn are left out."""
        return " ".join(f"{round(ACROSS * self.share(x), 2):g},{self.y(y)}" for x, y in points if is_drawable(y))


def is_drawable(value: float) -> bool:
    """Whether a value can be a place on a drawing."""
    return value == 0 or 1 / LARGEST < abs(value) < LARGEST


def drawing(name: str, height: int, behind: Sequence[str], lines: Sequence[str], before: Sequence[str] = ()) -> str:
    """Lines, with the axes behind and the marks before them, as one element."""
    layer = f'<svg viewBox="0 0 {ACROSS} {height}" preserveAspectRatio="none" height="{height}">{"".join(lines)}</svg>'
    return (
        f'<svg role="img" aria-label="{safe(name)}" height="{height}">{"".join(behind)}{layer}{"".join(before)}</svg>'
    )


def line(scale: Scale, points: Points, kind: str, title: str = "") -> str:
    """A line; with a title that shows where the pointer is over it."""
    inside = f"<title>{safe(title)}</title>" if title else ""
    return f'<polyline class="{kind}" points="{scale.points(points)}">{inside}</polyline>'


def area(scale: Scale, points: Points, kind: str) -> str:
    """What lies between a line and 0."""
    if not points:
        return ""
    closed = [(points[0][0], 0.0), *points, (points[-1][0], 0.0)]
    return f'<polygon class="{kind}" points="{scale.points(closed)}"/>'


def words(x: object, y: float, text: str, kind: str, anchor: str = "start") -> str:
    """A text; `anchor` says which part of it is at x."""
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{safe(text)}</text>'


def upright(x: str, top: float, bottom: float, kind: str) -> str:
    """A vertical line."""
    return f'<line class="{kind}" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>'


def values(scale: Scale, ticks: Sequence[float], labels: Sequence[str]) -> list[str]:
    """Horizontal lines, each with its value."""
    parts = []
    for tick, label in zip(ticks, labels, strict=True):
        y = scale.y(tick)
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        parts.append(words(-8, y + 4, label, "tick", "end"))
    return parts


def rates(low: float, high: float, count: int = 4) -> tuple[list[float], list[str]]:
    """Round learning rates between two, and as people write them; all digits that tell them apart."""
    found = ticks(low, high, count)
    return found, [rate(float(f"{value:.10g}")) for value in found]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers between two values."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low] if math.isfinite(low) else []
    raw = span / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next((m * unit for m in (1, 2, 2.5, 5) if m * unit >= raw * (1 - 1e-9)), 10 * unit)
    return [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def powers(low: float, high: float) -> list[float]:
    """Powers of ten between two positive values, at most about 5 of them."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**e for e in range(first, last + 1, max(1, math.ceil((last - first + 1) / 5)))]


def safe(value: object) -> str:
    """Any text as part of the page."""
    return escape(clean(value))
