"""Axes: their values are few, round and on them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.reports.html.svg import powers, ticks


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
