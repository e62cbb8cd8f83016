"""Counts that grow evenly: the line through all but one."""

from __future__ import annotations

import pytest

from ckpt_doctor.trainers.lines import line_through

EVEN = [(epoch, 4 * epoch + 4) for epoch in range(6)]


@pytest.mark.parametrize("odd", range(6))
@pytest.mark.parametrize("count", [1, 100])
def test_one_that_departs_does_not_bend_the_line(odd, count):
    points = [(epoch, count if epoch == odd else value) for epoch, value in EVEN]
    line = line_through(points)
    assert line is not None
    assert [epoch for epoch, value in points if value != line.at(epoch)] == [odd]
    assert line.epoch(line.at(3)) == 3


@pytest.mark.parametrize(
    "points",
    [
        EVEN[:2],
        [*EVEN[:3], (3, 1), (4, 2)],
        [(epoch, 7) for epoch in range(5)],
        [(0, 1), (1, 3), (2, 4), (3, 9)],
        [(0, 0), (1, 0), (2, 1), (3, 2), (4, 3)],
        [],
    ],
)
def test_no_line_is_drawn_through_too_few(points):
    """Two always agree; two that depart prove nothing; what stands still or began later does not grow evenly."""
    assert line_through(points) is None
