"""Counts that grow evenly from file to file of a run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from ckpt_doctor.types.record import record

ENOUGH = 3
"""Files of different epochs from which a line is drawn: two always agree."""


@record(frozen=True, slots=True)
class Line:
    """A count that is `each` times the epoch, and `first` more; of what is counted once in `over` epochs its part."""

    each: int
    first: int
    over: int = 1

    def at(self, epoch: int) -> int:
        """The count at an epoch."""
        return (self.each * epoch + self.first) // self.over

    def epoch(self, count: int) -> float:
        """The epoch at a count."""
        return (self.over * count - self.first) / self.each

    def has(self, epoch: int, count: int) -> bool:
        """Whether a pair lies on it."""
        return self.over * count == self.each * epoch + self.first


def line_through(counted: Iterable[tuple[int, int | None]], whole: bool = True) -> Line | None:
    """Pairs of epoch and count -> the line through all of them but one; None where it does not go through enough.

    Linear in the number of pairs. A line below 0 at the first epoch is none: what is counted began later. A count that
    grows less than what stands for the epoch has a line only where it need not be `whole`."""
    points = sorted({(epoch, count) for epoch, count in counted if count is not None})
    if len(points) < ENOUGH:
        return None
    slopes: Counter[tuple[int, int]] = Counter()
    for at, (epoch, count) in enumerate(points):
        for further, more in points[at + 1 : at + 1 + ENOUGH]:
            if further > epoch and more > count and not (whole and (more - count) % (further - epoch)):
                common = math.gcd(more - count, further - epoch)
                slopes[(more - count) // common, (further - epoch) // common] += 1
    if not slopes:
        return None
    each, over = slopes.most_common(1)[0][0]
    first, fitting = Counter(over * count - each * epoch for epoch, count in points).most_common(1)[0]
    outside = len(points) - fitting
    return Line(each, first, over) if fitting >= ENOUGH and outside <= 1 and each * points[0][0] + first >= 0 else None
