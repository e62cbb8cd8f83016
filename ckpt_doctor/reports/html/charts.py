"""Line charts as inline SVG: the learning rate with checkpoints on it, and the validation loss.

Colours and fonts come from the page's style sheet (classes `line`, `grid`, `ok`, ...), so a chart follows its theme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ckpt_doctor.reports.text import clean, integer, rate, real
from ckpt_doctor.types import Curve, FileReport, Points, RunReport, Verdict
from ckpt_doctor.types.record import record

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 44, 38


@record(frozen=True)
class Mark:
    """A checkpoint on the chart of rates: (step, rate) of the first batch after a resume from it."""

    number: int
    """Its row in the table of files, from 1."""
    label: str
    verdict: Verdict
    now: tuple[float, float] | None
    """From the file as it is."""
    repaired: tuple[float, float] | None
    """From the repaired file, which is where the uninterrupted run stands."""


def marks(run: RunReport, labels: Sequence[str], steps_per_epoch: int | None) -> list[Mark]:
    """The checkpoints of a run whose place on the chart is known."""
    found = []
    for number, (file, label) in enumerate(zip(run.files, labels, strict=True), 1):
        now, repaired = landing(file, steps_per_epoch)
        if now is not None or repaired is not None:
            found.append(Mark(number, label, file.verdict, now, repaired))
    return found


def landing(
    file: FileReport, steps_per_epoch: int | None
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Where a resume from the file as it is begins, and where one from the repaired file does, as (step, rate)."""
    plan, resume = file.plan, file.resume_point
    if plan is None:
        return None, None

    def place(epoch: int | None, skip: int | None, rate: float | None) -> tuple[float, float] | None:
        step = float(plan.global_step) if plan.global_step is not None else None
        if epoch is not None and skip is not None and steps_per_epoch is not None:
            step = float(epoch * steps_per_epoch + min(skip, steps_per_epoch))
        return (step, rate) if step is not None and rate is not None and math.isfinite(rate) else None

    lr = resume.lr[0] if resume.lr else None
    return place(plan.start_epoch, plan.skip_batches, plan.next_lr), place(resume.start_epoch, resume.skip_batches, lr)


@record(frozen=True)
class Scale:
    """Data to pixels on both axes."""

    x0: float
    x1: float
    y0: float
    y1: float
    log: bool = False

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return round(LEFT + (value - self.x0) / (self.x1 - self.x0 or 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Pixels from the top; what lies below the axis is drawn on it."""
        if self.log:
            share = math.log(max(value, self.y0) / self.y0) / math.log(self.y1 / self.y0)
        else:
            share = (max(value, self.y0) - self.y0) / (self.y1 - self.y0 or 1.0)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def line(self, points: Points) -> str:
        """`points` attribute of a polyline; not finite ones are left out."""
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points if math.isfinite(y))


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


def rate_chart(curve: Curve, places: Sequence[Mark]) -> str:
    """Learning rate against the optimizer step; empty when there is nothing to draw.

    Logarithmic where a resume goes another way, for that way can be many times the right one.
    """
    if not curve.rates:
        return ""
    points = [p for line in (curve.rates, *(line for _, line in curve.resumed)) for p in line]
    points += [p for place in places for p in (place.now, place.repaired) if p is not None]
    rates = [y for _, y in points if math.isfinite(y) and y > 0]
    if not rates:
        return ""
    steps, log = [x for x, _ in points], bool(curve.resumed)
    low = min(rates) / 1.5 if log else 0.0
    end = max(steps)
    if curve.steps_per_epoch:
        end = math.ceil(end / curve.steps_per_epoch) * curve.steps_per_epoch
    scale = Scale(min(0.0, min(steps)), end, low, max(rates) * (1.5 if log else 1.05), log)
    values = powers(scale.y0, scale.y1) if log else ticks(0.0, scale.y1)
    name = "learning rate (logarithmic)" if log else "learning rate"
    parts = axes(scale, values, [rate(t) for t in values], name)
    parts += epoch_lines(scale, curve.steps_per_epoch)
    parts.append(f'<polyline class="line" points="{scale.line(curve.rates)}"/>')
    for title, line in curve.resumed:
        parts.append(f'<polyline class="other" points="{scale.line(line)}"><title>{_text(title)}</title></polyline>')
    for place in places:
        parts += mark(scale, place)
    for x, numbers in numbers_above(scale, places):
        parts.append(f'<text class="number" x="{x}" y="{TOP - 10}" text-anchor="middle">{numbers}</text>')
    label = (
        f"Learning rate of the uninterrupted run over {integer(int(scale.x1))} steps, with {len(places)} checkpoints"
    )
    return svg(label, parts)


def mark(scale: Scale, place: Mark) -> list[str]:
    """A checkpoint: where the repaired file resumes (filled), where the file as it is does (ring)."""
    told = [place.label, *(f"{name}: step {integer(int(p[0]))}, rate {rate(p[1])}" for name, p in ends(place))]
    parts = [f'<g class="{place.verdict}"><title>{_text("; ".join(told))}</title>']
    x = scale.x(anchor(place))
    parts.append(f'<line class="drop" x1="{x}" x2="{x}" y1="{TOP - 6}" y2="{HEIGHT - BOTTOM}"/>')
    pixels = {name: (scale.x(p[0]), scale.y(p[1])) for name, p in ends(place)}
    if len(pixels) == 2:
        (x1, y1), (x2, y2) = pixels.values()
        parts.append(f'<line class="between" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    shapes = {"repaired": 'r="4"', "as it is": 'r="6.5"'}
    for name, (cx, cy) in reversed(pixels.items()):
        parts.append(f'<circle class="{"now" if name == "as it is" else name}" cx="{cx}" cy="{cy}" {shapes[name]}/>')
    return [*parts, "</g>"]


def ends(place: Mark) -> list[tuple[str, tuple[float, float]]]:
    """The two places of a mark that are known."""
    return [(name, p) for name, p in (("as it is", place.now), ("repaired", place.repaired)) if p is not None]


def anchor(place: Mark) -> float:
    """The step at which a mark stands."""
    return ends(place)[-1][1][0]


def numbers_above(scale: Scale, places: Sequence[Mark]) -> list[tuple[float, str]]:
    """Where to write which numbers: checkpoints too near for a number each share one text."""
    texts: list[tuple[float, list[int]]] = []
    for place in sorted(places, key=lambda p: (anchor(p), p.number)):
        x = scale.x(anchor(place))
        if texts and x - texts[-1][0] < 12 + 4 * len(numbers(texts[-1][1])):
            texts[-1][1].append(place.number)
        else:
            texts.append((x, [place.number]))
    return [(min(max(x, LEFT), WIDTH - RIGHT), numbers(found)) for x, found in texts]


def numbers(found: Sequence[int]) -> str:
    """`1, 2`, from four on as `1 to 9` where they follow each other."""
    ordered = sorted(found)
    if len(ordered) > 3 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]} to {ordered[-1]}"
    return ", ".join(map(str, ordered[:6])) + (f" and {len(ordered) - 6} more" if len(ordered) > 6 else "")


def loss_chart(curve: Curve) -> str:
    """Validation loss per epoch, the best marked; empty where fewer than two are known, which make no line."""
    finite = [(x, y) for x, y in curve.losses if math.isfinite(y)]
    if len(finite) < 2:
        return ""
    low, high = min(y for _, y in finite), max(y for _, y in finite)
    room = (high - low or abs(high) or 1.0) * 0.15
    scale = Scale(min(x for x, _ in curve.losses) - 0.5, max(x for x, _ in curve.losses) + 0.5, low - room, high + room)
    values = ticks(scale.y0, scale.y1)
    parts = axes(scale, values, [real(t, digits=4) for t in values], "validation loss")
    epochs = [int(x) for x, _ in curve.losses]
    for epoch in epochs[:: math.ceil(len(epochs) / 20)]:
        parts.append(f'<text class="tick" x="{scale.x(epoch)}" y="{HEIGHT - 20}" text-anchor="middle">{epoch}</text>')
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">epoch</text>')
    parts.append(f'<polyline class="line" points="{scale.line(tuple(finite))}"/>')
    for at, loss in finite:
        epoch, x, y = int(at), scale.x(at), scale.y(loss)
        kind = "best" if epoch == curve.best_epoch else "dot"
        title = f"epoch {epoch}: {real(loss)}"
        parts.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="4"><title>{title}</title></circle>')
        if kind == "best":
            side = "start" if x < WIDTH / 3 else "end" if x > 2 * WIDTH / 3 else "middle"
            parts.append(f'<text class="number" x="{x}" y="{y - 10}" text-anchor="{side}">best {real(loss)}</text>')
    return svg(f"Validation loss of {len(finite)} epochs", parts)


def axes(scale: Scale, values: Sequence[float], labels: Sequence[str], name: str) -> list[str]:
    """Horizontal lines with their values, and what they measure."""
    parts = [f'<text class="tick" x="4" y="12">{name}</text>']
    for value, label in zip(values, labels, strict=True):
        y = scale.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{label}</text>')
    return parts


def epoch_lines(scale: Scale, steps_per_epoch: int | None) -> list[str]:
    """Where epochs begin, at most 8 of them; the last step where epochs are not known."""
    parts = [f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">step</text>']
    if steps_per_epoch:
        epochs = range(int(scale.x1 / steps_per_epoch) + 1)
        for epoch in epochs[:: math.ceil(len(epochs) / 8)]:
            x = scale.x(epoch * steps_per_epoch)
            parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
            label = integer(epoch * steps_per_epoch)
            parts.append(f'<text class="tick" x="{x}" y="{HEIGHT - 20}" text-anchor="middle">{label}</text>')
    else:
        label = integer(int(scale.x1))
        parts.append(f'<text class="tick" x="{scale.x(scale.x1)}" y="{HEIGHT - 20}" text-anchor="end">{label}</text>')
    return parts


def svg(label: str, parts: Sequence[str]) -> str:
    """The drawing as one element."""
    return f'<svg role="img" aria-label="{_text(label)}" viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(parts)}</svg>'


def _text(value: object) -> str:
    return escape(clean(value))
