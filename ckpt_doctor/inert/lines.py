"""Counts that grow evenly from file to file of a run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from heapq import nlargest, nsmallest
from itertools import product

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

    Two may be off that have each other's count: a part of two files was exchanged. Linear in the number of pairs. A
    line below 0 at the first epoch is none: what is counted began later. A count that grows less than what stands for
    the epoch has a line only where it need not be `whole`."""
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
    line = Line(each, first, over)
    off = [point for point in points if not line.has(*point)] if len(points) - fitting <= 2 else points
    are_exchanged = len(off) == 2 and all(line.has(off[at][0], off[1 - at][1]) for at in (0, 1))
    is_one = fitting >= ENOUGH and (len(off) <= 1 or are_exchanged) and each * points[0][0] + first >= 0
    return line if is_one else None


def odd_one_within(points: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Pairs of steps and the epoch they are in -> the place of the only pair that no length of an epoch has together
    with the others, and the epoch that it should have; None where one length has all, or either of these is open.

    Epochs count from 0 or from 1, and the step that ends one belongs to it or to the next."""
    found: set[tuple[int, int]] = set()
    for first, late in product((0, 1), (0, 1)):
        lengths = [_lengths(steps - late, epoch - first) for steps, epoch in points]
        lows = nlargest(2, range(len(points)), key=lambda at: lengths[at][0])
        highs = nsmallest(2, range(len(points)), key=lambda at: lengths[at][1])
        if lengths[lows[0]][0] < lengths[highs[0]][1]:
            return None
        for odd in {lows[0], highs[0]}:
            low, high = lengths[lows[lows[0] == odd]][0], lengths[highs[highs[0] == odd]][1]
            if 0 < low < high:
                steps = points[odd][0] - late
                fewest, most = int(steps / high), math.ceil(steps / low) - 1
                found.add((odd, fewest + first if fewest == most else -1))
    place, epoch = found.pop() if len(found) == 1 else (0, -1)
    return (place, epoch) if epoch >= 0 else None


def _lengths(steps: int, epoch: int) -> tuple[Fraction | float, Fraction | float]:
    """How long an epoch may be in whose number these steps are: longer than the first, and no longer than the other."""
    if epoch < 0 or steps < 0:
        return math.inf, 0
    return Fraction(steps, epoch + 1), Fraction(steps, epoch) if epoch else math.inf
