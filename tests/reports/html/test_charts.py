"""The pictures of a run: every checkpoint where it resumes, the losses with the best one."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.reports.html.charts import loss_chart, marks, numbers, rate_chart
from ckpt_doctor.reports.html.lenses import lenses
from ckpt_doctor.types import Curve, Departure
from tests.reports.html.markup import tags
from tests.reports.report_samples import CURVE, RUN, STEP, example, report, resumable


def test_each_checkpoint_is_on_the_chart_where_it_resumes_now_and_repaired() -> None:
    [run] = report(resumable(), resumable()).runs
    drawn = rate_chart(CURVE, marks(run, ["a", "b"], CURVE))
    assert [a["class"] for tag, a in tags(drawn) if tag == "circle"] == ["repaired", "now"] * 2


def test_a_resume_that_lands_elsewhere_is_joined_to_where_it_should_land() -> None:
    [run] = report(resumable(start_epoch=0, skip_batches=100)).runs
    [mark] = marks(run, ["a"], CURVE)
    assert (mark.now, mark.repaired) == ((100, 4e-6), (17000, 4e-6))
    drawn = [a for tag, a in tags(rate_chart(CURVE, [mark])) if a.get("class") in ("now", "repaired", "between")]
    [between, repaired, now] = drawn
    assert (between["x1"], between["x2"]) == (now["cx"], repaired["cx"])
    assert float((now["cx"] or "").rstrip("%")) < float((repaired["cx"] or "").rstrip("%"))


def test_checkpoints_at_one_place_share_one_text() -> None:
    [run] = example().runs
    assert ">1, 2, 3</text>" in rate_chart(CURVE, marks(run, ["a", "b", "c"], CURVE))


@pytest.mark.parametrize(
    ("found", "expected"),
    [([2, 1], "1, 2"), ([1, 2, 3, 4], "1 to 4"), ([1, 3, 5, 7, 9, 11, 13, 15], "1, 3, 5, 7, 9, 11 and 2 more")],
)
def test_numbers_that_share_a_text_are_told_briefly(found: list[int], expected: str) -> None:
    assert expected == numbers(found)


def test_a_resume_that_goes_another_way_makes_the_scale_logarithmic() -> None:
    flat = replace(CURVE, departures=())
    assert "logarithmic" in rate_chart(CURVE, [])
    assert "logarithmic" not in rate_chart(flat, [])


def test_the_best_epoch_is_marked_and_a_loss_that_is_no_number_left_out() -> None:
    circles = [a["class"] for tag, a in tags(loss_chart(CURVE)) if tag == "circle"]
    assert circles == ["dot", "best"]


def test_a_single_loss_makes_no_chart() -> None:
    assert loss_chart(replace(CURVE, losses=((1, 0.5), (2, float("nan"))))) == ""


def test_no_chart_is_drawn_of_nothing() -> None:
    assert rate_chart(Curve(RUN), []) == loss_chart(Curve(RUN)) == ""


@given(st.lists(st.tuples(st.integers(0, 10**9).map(float), st.floats(), st.floats()), max_size=6), st.booleans())
def test_whatever_numbers_a_file_holds_what_is_drawn_has_places(
    points: list[tuple[float, float, float]], is_whole: bool
) -> None:
    points.sort(key=lambda point: point[0])
    line = tuple((x, y) for x, y, _ in points)
    known = {"rates": line} if is_whole else {"rates": (), "recorded": line}
    curve = replace(CURVE, losses=line, departures=(Departure(STEP, tuple(points)),), **known)
    [run] = report(resumable(next_lr=points[0][1] if points else None)).runs
    places = marks(run, ["a"], curve)
    found = [(1, "a", STEP)]
    drawn = [rate_chart(curve, places), loss_chart(curve)]
    drawn += [part for lens in lenses(curve, found) for part in (lens.near, lens.difference)]
    for tag, attributes in tags("".join(drawn)):
        numbers = [v for k, v in attributes.items() if k not in ("aria-label", "class")]
        assert not [value for value in numbers if value and re.search("nan|inf", value)], tag
