"""The pictures of a run: its learning rate with the checkpoints on it, and its validation losses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ckpt_doctor.reports.html import svg
from ckpt_doctor.reports.html.svg import Scale, line, safe, upright, words
from ckpt_doctor.reports.text import integer, plural, rate, real
from ckpt_doctor.types import Curve, RunReport, Verdict
from ckpt_doctor.types.record import record

HEIGHT, TOP, BOTTOM = 264, 40, 232
WIDTHS = (("wide", 620), ("narrow", 260))
"""Class of a set of labels, and the pixels across that they must do with: the style sheet shows one of the sets."""
STEEP = 30
"""Times the highest rate of the run from which the chart is logarithmic, so that both can be seen."""


@record(frozen=True)
class Mark:
    """A checkpoint on the chart of rates: (place, rate) of the first batch after a resume from it."""

    number: int
    """Its row in the table of files, from 1."""
    label: str
    verdict: Verdict
    now: tuple[float, float] | None
    """From the file as it is."""
    repaired: tuple[float, float] | None
    """From the repaired file, which is where the uninterrupted run is."""
    is_advised: bool = False
    """Whether it is the one to resume from."""

    @property
    def ends(self) -> list[tuple[str, tuple[float, float]]]:
        """Those of the two places that are known."""
        return [(name, p) for name, p in (("as it is", self.now), ("repaired", self.repaired)) if p is not None]

    @property
    def place(self) -> float:
        """Where in the run it stands."""
        return self.ends[-1][1][0]


def marks(run: RunReport, labels: Sequence[str], curve: Curve) -> list[Mark]:
    """The checkpoints of a run whose place on the chart is known."""
    found, advised = [], run.advice.label if run.advice is not None else ""
    for number, (file, label) in enumerate(zip(run.files, labels, strict=True), 1):
        plan, due = file.plan, file.resume_point
        start, right = curve.starts(file)
        now = _point(start, plan.next_lr if plan is not None else None)
        repaired = _point(right, due.lr[0] if due.lr else None)
        if now is not None or repaired is not None:
            found.append(Mark(number, label, file.verdict, now, repaired, label == advised))
    return found


def _point(place: float | None, lr: float | None) -> tuple[float, float] | None:
    return (place, lr) if place is not None and lr is not None and svg.is_drawable(lr) else None


def rate_chart(curve: Curve, places: Sequence[Mark]) -> str:
    """Learning rate over the run; empty where there is nothing to draw."""
    known = tuple(point for point in curve.rates or curve.recorded if svg.is_drawable(point[1]))
    departures = [tuple((x, own) for x, own, _ in one.points) for one in curve.departures]
    ends = [point for place in places for _, point in place.ends]
    scale = _rate_scale(curve, [*known, *(p for points in departures for p in points), *ends])
    if scale is None:
        return ""
    ticks = svg.powers(scale.y0, scale.y1) if scale.log else svg.ticks(scale.y0, scale.y1)
    behind = [words(-8, 14, "learning rate, logarithmic" if scale.log else "learning rate", "tick name")]
    behind += svg.values(scale, ticks, [rate(float(f"{tick:.10g}")) for tick in ticks])
    behind += _course(scale, curve)
    parts: list[str] = []
    lines = [line(scale, points, "other") for points in departures]
    lines.append(line(scale, known, "line" if curve.rates else "recorded"))
    if not curve.rates:
        taken = {x for mark in places for _, (x, _) in mark.ends}
        parts += [
            f'<circle class="dot" cx="{scale.x(x)}" cy="{scale.y(y)}" r="2.5"/>' for x, y in known if x not in taken
        ]
    for place in places:
        parts += _mark(scale, place, curve.unit)
    for kind, width in WIDTHS:
        parts += [words(x, TOP - 12, text, f"number {kind}", "middle") for x, text in _numbers(scale, places, width)]
    name = f"Learning rate over {integer(int(scale.x1))} {curve.unit}s, with {plural(len(places), 'checkpoint')}"
    return svg.drawing(name, HEIGHT, behind, lines, parts)


def _rate_scale(curve: Curve, points: Sequence[tuple[float, float]]) -> Scale | None:
    """Both axes: the whole run across, and upwards no more than where rates are."""
    points = [point for point in points if svg.is_drawable(point[1])]
    rates = [y for _, y in points]
    if not rates or max(rates) <= 0:
        return None
    end, own = max(x for x, _ in points), max((y for _, y in curve.rates if svg.is_drawable(y)), default=max(rates))
    if curve.steps_per_epoch and curve.unit == "step":
        end = math.ceil(end / curve.steps_per_epoch) * curve.steps_per_epoch
    low, high = min(y for y in rates if y > 0), max(rates)
    log = high > STEEP * max(own, low) or (bool(curve.departures) and high > 4 * own)
    if log:
        return Scale(0.0, end or 1.0, low / 1.5, high * 1.5, TOP, BOTTOM, log=True)
    low = min(rates)
    room = 0.08 * (high - low) or 0.1 * high
    bottom = 0.0 if low < 0.25 * high else low - room
    return Scale(0.0, end or 1.0, max(0.0, bottom), high + room, TOP, BOTTOM)


def _mark(scale: Scale, place: Mark, unit: str) -> list[str]:
    """A checkpoint: where the repaired file resumes (filled), where the file as it is does (ring)."""
    told = [place.label, *(f"{name}: {unit} {integer(int(p[0]))}, rate {rate(p[1])}" for name, p in place.ends)]
    parts = [f'<g class="{place.verdict}"><title>{safe("; ".join(told))}</title>']
    parts.append(upright(scale.x(place.place), TOP - 6, BOTTOM, "advised" if place.is_advised else "drop"))
    at = {name: (scale.x(x), scale.y(y)) for name, (x, y) in place.ends}
    if len(at) == 2:
        (x1, y1), (x2, y2) = at.values()
        parts.append(f'<line class="between" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    for name, (cx, cy) in reversed(at.items()):
        kind, r = ("now", 7) if name == "as it is" else ("repaired", 4)
        parts.append(f'<circle class="{kind}" cx="{cx}" cy="{cy}" r="{r}"/>')
    return [*parts, "</g>"]


def _numbers(scale: Scale, places: Sequence[Mark], width: int) -> list[tuple[str, str]]:
    """Where to write which numbers: checkpoints too near for a number each share one text."""
    texts: list[tuple[float, float, list[int]]] = []  # where the first and the last of them are, and their numbers
    for place in sorted(places, key=lambda p: (p.place, p.number)):
        x = scale.share(place.place) * width
        if texts and x - texts[-1][0] < 10 + 4 * (len(numbers(texts[-1][2])) + len(str(place.number))):
            first, _, found = texts[-1]
            found.append(place.number)
            texts[-1] = (first, x, found)
        else:
            texts.append((x, x, [place.number]))
    return [(f"{50 * (first + last) / width:.2f}%", numbers(found)) for first, last, found in texts]


def numbers(found: Sequence[int]) -> str:
    """`1, 2`, from four on as `1 to 9` where they follow each other."""
    ordered = sorted(found)
    if len(ordered) > 3 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]} to {ordered[-1]}"
    return ", ".join(map(str, ordered[:6])) + (f" and {len(ordered) - 6} more" if len(ordered) > 6 else "")


def _course(scale: Scale, curve: Curve) -> list[str]:
    """The course of training below a chart: where epochs begin, where that is known."""
    length = curve.steps_per_epoch if curve.unit == "step" else None
    parts = [words("100%", HEIGHT - 2, curve.unit, "tick", "end")]
    for kind, width in WIDTHS:
        most = width // 70
        if length:
            count = int(scale.x1 / length)
            steps = [epoch * length for epoch in range(0, count + 1, max(1, math.ceil(count / most)))]
        else:
            steps = [int(tick) for tick in svg.ticks(0, scale.x1, most) if tick == int(tick)]
        for step in steps:
            parts.append(upright(scale.x(step), TOP, BOTTOM, f"grid {kind}"))
            parts.append(_tick(scale, step, integer(step), kind))
    return parts


def _tick(scale: Scale, place: float, text: str, kind: str) -> str:
    anchor = "end" if scale.share(place) > 0.96 else "middle"
    return words(scale.x(place), BOTTOM + 16, text, f"tick {kind}", anchor)


def loss_chart(curve: Curve) -> str:
    """Validation losses, the best marked; empty where fewer than two are known, which make no line."""
    finite = [(x, y) for x, y in curve.losses if svg.is_drawable(y)]
    if len(finite) < 2:
        return ""
    low, high = min(y for _, y in finite), max(y for _, y in finite)
    room = (high - low or abs(high) or 1.0) * 0.22
    first, last = finite[0][0], finite[-1][0]
    side = 0.06 * (last - first)
    scale = Scale(first - side, last + side, low - room, high + room, TOP, BOTTOM)
    ticks = svg.ticks(scale.y0, scale.y1)
    behind = [words(-8, 14, curve.loss, "tick name")]
    behind += svg.values(scale, ticks, [real(tick, digits=4) for tick in ticks])
    behind.append(words("100%", HEIGHT - 2, curve.losses_by, "tick", "end"))
    for kind, width in WIDTHS:
        for place, _ in finite[:: math.ceil(len(finite) / (width // 60))]:
            behind.append(_tick(scale, place, integer(int(place)), kind))
    parts = [p for x, y in finite for p in _loss(scale, curve, x, y, is_small=len(finite) > 60)]
    name = f"{curve.loss} at {len(finite)} {curve.losses_by}s"
    return svg.drawing(name, HEIGHT, behind, [line(scale, tuple(finite), "line")], parts)


def _loss(scale: Scale, curve: Curve, place: float, loss: float, *, is_small: bool) -> list[str]:
    is_best = place == curve.best
    x, y, title = scale.x(place), scale.y(loss), f"{curve.losses_by} {integer(int(place))}: {real(loss)}"
    if is_small and not is_best:
        return []
    kind, r = ("best", 5) if is_best else ("dot", 3.5)
    parts = [f'<circle class="{kind}" cx="{x}" cy="{y}" r="{r}"><title>{safe(title)}</title></circle>']
    if is_best:
        share = scale.share(place)
        anchor = "start" if share < 1 / 3 else "end" if share > 2 / 3 else "middle"
        is_low = scale.y(loss) > (TOP + BOTTOM) / 2
        parts.append(words(x, y + (18 if is_low else -12), f"best {real(loss)}", "number", anchor))
    return parts
