"""Resumes that depart from the uninterrupted run, enlarged until a single step can be seen."""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor.reports.html.lenses import lenses
from ckpt_doctor.types import Departure
from tests.reports.html.markup import tags
from tests.reports.report_samples import CURVE, STEP


def test_a_departure_is_drawn_large_and_its_difference_to_the_end() -> None:
    late = tuple((100.0 + i, 0.01 - (i - 1) * 1e-6, 0.01 - i * 1e-6) for i in range(60))
    curve = replace(CURVE, departures=(Departure(STEP, late),))
    [lens] = lenses(curve, [(7, "late", STEP)])
    assert (lens.number, lens.label) == (7, "late")
    assert "0.01 %" in lens.words
    [right, own] = [a for tag, a in tags(lens.near) if tag == "polyline"]
    heights = [[float(point.split(",")[1]) for point in (a["points"] or "").split()] for a in (own, right)]
    assert all(mine < other - 5 for mine, other in zip(*heights, strict=True))
    [shape] = [a for tag, a in tags(lens.difference) if tag == "polyline"]
    assert (shape["points"] or "").split()[-1].startswith("1000,")


def test_a_departure_that_begins_right_tells_where_it_departs() -> None:
    points = ((0.0, 1e-3, 1e-3), (10.0, 1e-3, 1e-3), (10.0, 5e-3, 1e-4), (20.0, 5e-3, 1e-4))
    [lens] = lenses(replace(CURVE, departures=(Departure(STEP, points),)), [(1, "a", STEP)])
    assert lens.words == "begins right; from step 10 on 0.005 instead of 0.0001 (50 times)"
