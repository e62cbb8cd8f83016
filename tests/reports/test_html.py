"""The HTML page and the notebook fragments: self-contained, well-formed, and no name gets out of its text."""

from __future__ import annotations

import pickle
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.reports.html import check_fragment, page, scan_fragment, scripts_page
from ckpt_doctor.reports.html.charts import loss_chart, marks, numbers, powers, rate_chart, ticks
from ckpt_doctor.types import Curve, FileReport, Linted, Located, NotChecked, Report
from tests.reports.report_samples import DEEP, HOSTILE, NO_BEST_SCORE, RUN, example, file, hostile, report

VOID = {"meta"}
CURVE = Curve(
    RUN,
    rates=((0, 4e-6), (17280, 4e-6), (86400, 1e-7)),
    resumed=((f"resume {HOSTILE}", ((18000, 1e-4), (86400, 1e-6))),),
    losses=((1, 0.5), (2, 0.41), (3, float("nan"))),
    best_epoch=2,
    steps_per_epoch=8640,
)
PAGES = {
    "example": page(example(), [CURVE]),
    "hostile": page(hostile()),
    "empty": page(Report((), 0.1, (Path(HOSTILE),))),
    "scripts": scripts_page(
        Linted((Path("a.py"),), (Located(NO_BEST_SCORE, Path(HOSTILE), 3, suggestion=HOSTILE),), (DEEP,))
    ),
    "notebook report": scan_fragment(example()),
    "notebook plan": check_fragment(report(file(RUN / HOSTILE, NO_BEST_SCORE))),
    "notebook hostile": scan_fragment(hostile()),
}


class Tags(HTMLParser):
    """Collects tags and their attributes, and demands that they nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser.seen


@pytest.mark.parametrize("name", PAGES)
def test_tags_nest(name: str) -> None:
    assert tags(PAGES[name])


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_loaded_and_nothing_is_run(name: str) -> None:
    for tag, attributes in tags(PAGES[name]):
        assert tag not in ("script", "link", "img", "iframe", "object", "base", "form")
        assert not [key for key in attributes if key.startswith("on") or key in ("src", "srcset")]
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in PAGES[name]
    assert "@import" not in PAGES[name]


@pytest.mark.parametrize("name", PAGES)
def test_control_characters_of_names_are_shown_as_escapes(name: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", PAGES[name])


@given(st.text(min_size=1))
def test_any_name_stays_text(name: str) -> None:
    """However a file is called, the page has the tags that it has for a plain name."""
    plain, odd = (
        report(file(RUN / part, NO_BEST_SCORE, role=None)) for part in ("name", name.replace("/", "").strip(".") or "x")
    )
    assert [tag for tag, _ in tags(page(plain))] == [tag for tag, _ in tags(page(odd))]


def test_the_page_follows_the_readers_theme() -> None:
    assert "prefers-color-scheme: dark" in PAGES["example"]


def test_a_run_with_a_curve_gets_a_chart_of_rates_and_one_of_losses() -> None:
    drawings = [attributes for tag, attributes in tags(PAGES["example"]) if tag == "svg"]
    assert len(drawings) == 2
    assert all(attributes["aria-label"] for attributes in drawings)


def resumable(**now: object) -> FileReport:
    """A file that should resume at batch 8,360 of epoch 1 with rate 4e-06."""
    judged = file(RUN / "checkpoint", role="best", start_epoch=1, skip_batches=8360)
    assert judged.plan is not None
    return replace(judged, plan=replace(judged.plan, **now), resume_point=replace(judged.resume_point, lr=(4e-6,)))


def test_each_checkpoint_is_on_the_chart_where_it_resumes_now_and_repaired() -> None:
    [run] = report(resumable(), resumable()).runs
    drawn = rate_chart(CURVE, marks(run, ["a", "b"], 8640))
    assert [a["class"] for tag, a in tags(drawn) if tag == "circle"] == ["repaired", "now"] * 2


def test_a_resume_that_lands_elsewhere_is_joined_to_where_it_should_land() -> None:
    [run] = report(resumable(start_epoch=0, skip_batches=100)).runs
    [mark] = marks(run, ["a"], 8640)
    assert (mark.now, mark.repaired) == ((100, 4e-6), (17000, 4e-6))
    drawn = [a for tag, a in tags(rate_chart(CURVE, [mark])) if a.get("class") in ("now", "repaired", "between")]
    [between, repaired, now] = drawn
    assert (between["x1"], between["x2"]) == (now["cx"], repaired["cx"])
    assert float(now["cx"] or 0) < float(repaired["cx"] or 0)


def test_the_page_has_what_a_resume_does_now_and_once_repaired() -> None:
    assert "<del>0.0001</del> 4e-06" in page(report(resumable(next_lr=1e-4)), [CURVE])
    assert "<del>" not in page(report(resumable(best_score=-0.4123456)), [CURVE])


def test_checkpoints_at_one_place_share_one_text() -> None:
    [run] = example().runs
    assert ">1, 2, 3</text>" in rate_chart(CURVE, marks(run, ["a", "b", "c"], 8640))


@pytest.mark.parametrize(
    ("found", "expected"),
    [([2, 1], "1, 2"), ([1, 2, 3, 4], "1 to 4"), ([1, 3, 5, 7, 9, 11, 13, 15], "1, 3, 5, 7, 9, 11 and 2 more")],
)
def test_numbers_that_share_a_text_are_told_briefly(found: list[int], expected: str) -> None:
    assert expected == numbers(found)


def test_a_resume_that_goes_another_way_makes_the_scale_logarithmic() -> None:
    flat = replace(CURVE, resumed=())
    assert "logarithmic" in rate_chart(CURVE, [])
    assert "logarithmic" not in rate_chart(flat, [])


def test_runs_are_listed_on_top_with_links_that_lead_to_them() -> None:
    one = example().runs[0]
    found = tags(page(replace(example(), runs=(one, one))))
    wanted = [(a["href"] or "").removeprefix("#") for tag, a in found if tag == "a"]
    assert wanted == [a["id"] for tag, a in found if tag == "section"]


def test_the_best_epoch_is_marked_and_a_loss_that_is_no_number_left_out() -> None:
    circles = [a["class"] for tag, a in tags(loss_chart(CURVE)) if tag == "circle"]
    assert circles == ["dot", "best"]


def test_a_single_loss_makes_no_chart() -> None:
    assert loss_chart(replace(CURVE, losses=((1, 0.5), (2, float("nan"))))) == ""


def test_no_chart_is_drawn_of_nothing() -> None:
    assert rate_chart(Curve(RUN), []) == loss_chart(Curve(RUN)) == ""


@given(st.floats(min_value=1e-9, max_value=1e9), st.floats(min_value=0.02, max_value=1))
def test_ticks_are_few_and_lie_on_the_axis(high: float, share: float) -> None:
    low = high * (1 - share)
    values = ticks(low, high)
    assert 2 <= len(values) <= 6
    slack = 1e-6 * high
    assert low - slack <= values[0] < values[-1] <= high + slack


@given(st.floats(min_value=1e-12, max_value=1e6), st.floats(min_value=10, max_value=1e12))
def test_powers_of_ten_are_few_and_lie_on_the_axis(low: float, ratio: float) -> None:
    values = powers(low, low * ratio)
    assert 1 <= len(values) <= 6
    assert low * (1 - 1e-6) <= values[0] <= values[-1] <= low * ratio * (1 + 1e-6)


def test_a_notebook_shows_the_plan_the_flags_and_the_verdict() -> None:
    shown = PAGES["notebook plan"]
    assert "starts at epoch 1 of 10" in shown
    assert "<code>--learning_rate 4e-06</code>" in shown
    assert '<strong class="repairable">repairable</strong>' in shown


def test_an_open_question_is_on_the_page_with_what_settles_it() -> None:
    point = NotChecked("the schedule", "two modes fit", "--lradj")
    assert "To settle it: <code>--lradj</code>" in page(report(file(RUN / "checkpoint", not_checked=(point,))))


def test_a_report_shows_itself_in_a_notebook() -> None:
    """IPython calls `_repr_html_` of what a cell ends with."""
    assert scan_fragment(example()) == example()._repr_html_()
    assert Report((), 0.1)._repr_html_() is None


def test_a_report_can_be_sent_to_another_process_and_still_shows_itself() -> None:
    """`check_resume` sends its answer to the other ranks by pickle."""
    sent = pickle.loads(pickle.dumps(example()))
    assert sent._repr_html_() == example()._repr_html_()
    assert sent == replace(sent, display=None)
