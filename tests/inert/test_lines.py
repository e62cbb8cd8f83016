"""Counts that grow evenly: the line through all but one."""

from __future__ import annotations

import pytest

from ckpt_doctor.inert.lines import line_through, odd_one_within

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


def test_two_that_have_each_others_count_do_not_bend_the_line():
    points = [
        (epoch, value) for (epoch, _), (_, value) in zip(EVEN, [EVEN[i] for i in (0, 3, 2, 1, 4, 5)], strict=True)
    ]
    line = line_through(points)
    assert line is not None
    assert [epoch for epoch, value in points if value != line.at(epoch)] == [1, 3]


WITHIN = [4, 11, 19, 25, 30, 40, 52]


@pytest.mark.parametrize(("first", "late"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_steps_within_epochs_of_one_length_show_the_epoch_that_is_off(first, late):
    points = [(steps, (steps - late) // 6 + first) for steps in WITHIN]
    assert odd_one_within(points) is None
    assert odd_one_within([*points[:5], (40, points[5][1] + 2), points[6]]) == (5, points[5][1])
    assert odd_one_within([*points[:2], (19, 9), points[3], (30, 0), *points[5:]]) is None


def test_epochs_that_grow_longer_are_not_held_against_one_length():
    assert odd_one_within([(4 * n * n, n) for n in range(8)]) is None
