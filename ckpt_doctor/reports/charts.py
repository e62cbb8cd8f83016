"""Line charts as inline SVG: the learning rate with checkpoints on it, and the validation loss.

Colours and fonts come from the page's style sheet (classes `line`, `grid`, `ok`, ...), so a chart follows its theme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ckpt_doctor.reports.text import clean, integer, rate, real
from ckpt_doctor.types import RunReport, Verdict

Points = tuple[tuple[float, float], ...]

WIDTH, HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 70, 16, 40, 38


@dataclass(frozen=True)
class Curve:
    """What the charts of one run need beyond its report."""

    run: Path
    rates: Points = ()
    """(optimizer step, learning rate) of the uninterrupted run, in order of steps."""
    resumed: tuple[tuple[str, Points], ...] = ()
    """The same for resumes that go another way, each with a name."""
    losses: Points = ()
    """(epoch as the log counts, from 1; validation loss)."""
    best_epoch: int | None = None


@dataclass(frozen=True)
class Mark:
    """A checkpoint on the chart of rates."""

    number: int
    """Its row in the table of files, from 1."""
    label: str
    step: int
    now: float | None
    """Rate of the first batch after a resume from the file as it is."""
    repaired: float | None
    """The uninterrupted run's, which a repair brings about."""
    verdict: Verdict


def marks(run: RunReport, labels: Sequence[str]) -> list[Mark]:
    """The checkpoints of a run whose resume point is known."""
    return [
        Mark(i, label, file.plan.global_step, file.plan.next_lr, file.plan.next_lr_uninterrupted, file.verdict)
        for i, (file, label) in enumerate(zip(run.files, labels, strict=True), 1)
        if file.plan is not None and file.plan.global_step is not None
    ]


@dataclass(frozen=True)
class Scale:
    """Data to pixels on both axes."""

    x0: float
    x1: float
    y1: float
    """The top; the bottom is 0."""

    def x(self, value: float) -> float:
        """Pixels from the left."""
        span = self.x1 - self.x0 or 1.0
        return round(LEFT + (value - self.x0) / span * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return round(HEIGHT - BOTTOM - value / (self.y1 or 1.0) * (HEIGHT - TOP - BOTTOM), 1)

    def line(self, points: Points) -> str:
        """`points` attribute of a polyline; not finite ones are left out."""
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points if math.isfinite(y))


def ticks(top: float, count: int = 4) -> list[float]:
    """Round numbers from 0 up to `top`."""
    if not top > 0 or not math.isfinite(top):
        return [0.0]
    raw = top / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next((m * unit for m in (1, 2, 2.5, 5) if m * unit >= raw), 10 * unit)
    return [i * step for i in range(int(top / step + 1e-9) + 1)]


def rate_chart(curve: Curve, places: Sequence[Mark], steps_per_epoch: int | None) -> str:
    """Learning rate against the optimizer step; empty when there is nothing to draw."""
    if not curve.rates:
        return ""
    rates = [y for points in (curve.rates, *(p for _, p in curve.resumed)) for _, y in points]
    rates += [r for place in places for r in (place.now, place.repaired) if r is not None]
    top = max((r for r in rates if math.isfinite(r)), default=0.0)
    steps = [x for x, _ in curve.rates] + [float(place.step) for place in places]
    scale = Scale(min(0.0, min(steps)), max(steps), 1.05 * top)
    parts = axes(scale, ticks(top), [rate(t) for t in ticks(top)], "learning rate")
    parts += epoch_lines(scale, steps_per_epoch)
    parts.append(f'<polyline class="line" points="{scale.line(curve.rates)}"/>')
    for name, points in curve.resumed:
        parts.append(f'<polyline class="other" points="{scale.line(points)}"><title>{_text(name)}</title></polyline>')
    for place in places:
        parts += mark(scale, place)
    for x, numbers in numbers_above(scale, places):
        parts.append(f'<text class="number" x="{x}" y="{TOP - 8}" text-anchor="middle">{numbers}</text>')
    label = (
        f"Learning rate of the uninterrupted run over {integer(int(scale.x1))} steps, with {len(places)} checkpoints"
    )
    return svg(label, parts)


def mark(scale: Scale, place: Mark) -> list[str]:
    """A checkpoint: where a repaired file resumes (filled), and where the file as it is does (ring)."""
    x = scale.x(place.step)
    title = f"{place.label}: step {integer(place.step)}, rate {rate(place.now)} now, {rate(place.repaired)} repaired"
    parts = [f'<g class="{place.verdict}"><title>{_text(title)}</title>']
    parts.append(f'<line class="drop" x1="{x}" x2="{x}" y1="{TOP - 4}" y2="{HEIGHT - BOTTOM}"/>')
    if place.repaired is not None and math.isfinite(place.repaired):
        parts.append(f'<circle class="repaired" cx="{x}" cy="{scale.y(place.repaired)}" r="4"/>')
    if place.now is not None and math.isfinite(place.now):
        parts.append(f'<circle class="now" cx="{x}" cy="{scale.y(place.now)}" r="6.5"/>')
    return [*parts, "</g>"]


def numbers_above(scale: Scale, places: Sequence[Mark]) -> list[tuple[float, str]]:
    """Where to write which numbers: checkpoints too near for a number each share one text."""
    texts: list[tuple[float, str]] = []
    for place in sorted(places, key=lambda p: (p.step, p.number)):
        x = scale.x(place.step)
        if texts and x - texts[-1][0] < 12 + 4 * len(texts[-1][1]):
            texts[-1] = (texts[-1][0], f"{texts[-1][1]}, {place.number}")
        else:
            texts.append((x, str(place.number)))
    return texts


def loss_chart(curve: Curve) -> str:
    """Validation loss per epoch, the best marked; empty when none is known."""
    finite = [(x, y) for x, y in curve.losses if math.isfinite(y)]
    if not finite:
        return ""
    top = max(y for _, y in finite)
    scale = Scale(min(x for x, _ in curve.losses) - 0.5, max(x for x, _ in curve.losses) + 0.5, 1.05 * max(top, 0.0))
    parts = axes(scale, ticks(top), [real(t, digits=4) for t in ticks(top)], "validation loss")
    epochs = [int(x) for x, _ in curve.losses]
    every = math.ceil(len(epochs) / 20)
    for epoch in epochs[::every]:
        parts.append(f'<text class="tick" x="{scale.x(epoch)}" y="{HEIGHT - 20}" text-anchor="middle">{epoch}</text>')
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">epoch</text>')
    parts.append(f'<polyline class="line" points="{scale.line(tuple(finite))}"/>')
    for at, loss in finite:
        epoch = int(at)
        kind = "best" if epoch == curve.best_epoch else "dot"
        title = f"epoch {epoch}: {real(loss)}"
        parts.append(
            f'<circle class="{kind}" cx="{scale.x(epoch)}" cy="{scale.y(loss)}" r="4"><title>{title}</title></circle>'
        )
        if kind == "best":
            y = scale.y(loss) - 10
            parts.append(
                f'<text class="number" x="{scale.x(epoch)}" y="{y}" text-anchor="middle">best {real(loss)}</text>'
            )
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
    """Where epochs begin, at most about 20 of them; the last step where epochs are not known."""
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
