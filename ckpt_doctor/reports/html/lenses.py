"""Resumes that depart from the uninterrupted run's rates, each drawn twice: its first moves large, and the difference.

On the chart of a whole run a step too late cannot be seen; here the axes fit what differs.
"""

from __future__ import annotations

from collections.abc import Sequence

from ckpt_doctor.reports.html import svg
from ckpt_doctor.reports.html.svg import Scale, area, line, words
from ckpt_doctor.reports.text import integer, rate
from ckpt_doctor.types import Curve, Departure, holds_rate
from ckpt_doctor.types.record import record

HEIGHT, TOP, BOTTOM = 132, 22, 108
FIRST = 9
"""Moves of the rate that the first drawing shows."""


@record(frozen=True)
class Lens:
    """One resume as it is, beside the uninterrupted run."""

    number: int
    """Its row in the table of files, from 1."""
    label: str
    words: str
    """What its rates do, in a sentence."""
    near: str
    """Its first moves."""
    difference: str
    """Its rate less the uninterrupted run's, to the end of the run."""


def lenses(curve: Curve, labels: Sequence[tuple[int, str, object]]) -> list[Lens]:
    """The resumes of a curve; `labels` are number, name and path of the run's files."""
    by_path = {path: (number, label) for number, label, path in labels}
    drawn = (
        Departure(one.path, tuple(p for p in one.points if all(map(svg.is_drawable, p)))) for one in curve.departures
    )
    found = [(by_path[one.path], one) for one in drawn if one.path in by_path and _departs(one)]
    return [
        Lens(number, label, told(one, curve.unit), _near(one, curve.unit), _difference(one, curve.unit))
        for (number, label), one in sorted(found, key=lambda item: item[0])
    ]


def _departs(departure: Departure) -> bool:
    return len(departure.points) > 1 and not all(holds_rate(own, right) for _, own, right in departure.points)


def told(departure: Departure, unit: str) -> str:
    """`begins at 0.004564 instead of 0.004477 (1.9 % higher)`."""
    place, own, right = departure.points[0]
    if not holds_rate(own, right):
        return f"begins at {rate(own)} instead of {rate(right)} ({ratio(own, right)})"
    place, own, right = next(point for point in departure.points if not holds_rate(point[1], point[2]))
    return (
        f"begins right; from {unit} {integer(int(place))} on {rate(own)} instead of {rate(right)} ({ratio(own, right)})"
    )


def ratio(own: float, right: float) -> str:
    """How much higher or lower, in percent or in times."""
    if not right:
        return "instead of none"
    times = own / right
    if times >= 2:
        return f"{times:.3g} times"
    return f"{abs(times - 1) * 100:.2g} % {'higher' if times > 1 else 'lower'}"


def _near(departure: Departure, unit: str) -> str:
    """The first moves from just before what differs, large."""
    leaves = next((i for i, p in enumerate(departure.points) if not holds_rate(p[1], p[2])), 0)
    points = departure.points[max(0, leaves - 2) :][: 2 * FIRST if _is_level(departure) else FIRST]
    own, right = [(x, y) for x, y, _ in points], [(x, y) for x, _, y in points]
    low, high = (choose(y for _, y in (*own, *right)) for choose in (min, max))
    room = 0.12 * (high - low) or 0.1 * high
    scale = Scale(points[0][0], points[-1][0], max(0.0, low - room), high + room, TOP, BOTTOM)
    lines = [line(scale, tuple(right), "line"), line(scale, tuple(own), "other")]
    start = f'<circle class="start" cx="{scale.x(own[0][0])}" cy="{scale.y(own[0][1])}" r="4"/>'
    return svg.drawing("The first learning rates", HEIGHT, _axes(scale, unit, "learning rate"), lines, [start])


def _is_level(departure: Departure) -> bool:
    """Whether the rate rests between its moves, so that each has two points."""
    points = departure.points
    return len(points) > 1 and points[0][1:] == points[1][1:]


def _difference(departure: Departure, unit: str) -> str:
    """The whole rest of the run."""
    points = tuple((x, own - right) for x, own, right in departure.points)
    low, high = min(0.0, *(y for _, y in points)), max(0.0, *(y for _, y in points))
    room = 0.1 * (high - low) or 1.0
    scale = Scale(points[0][0], points[-1][0], low - room * (low < 0), high + room * (high > 0), TOP, BOTTOM)
    drawn = [area(scale, points, "gap"), line(scale, points, "other")]
    zero = f'<line class="zero" x1="0" x2="100%" y1="{scale.y(0.0)}" y2="{scale.y(0.0)}"/>'
    behind = [*_axes(scale, unit, "difference to the end of the run"), zero]
    return svg.drawing("The difference", HEIGHT, behind, drawn)


def _axes(scale: Scale, unit: str, name: str) -> list[str]:
    parts = [words(-8, 12, name, "tick name")]
    parts += svg.values(scale, *svg.rates(scale.y0, scale.y1, 2))
    ends = [words("0", BOTTOM + 16, f"{unit} {integer(int(scale.x0))}", "tick")]
    if scale.x1 > scale.x0:
        ends.append(words("100%", BOTTOM + 16, integer(int(scale.x1)), "tick", "end"))
    return parts + ends
