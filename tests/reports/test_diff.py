"""What differs between two files, readable at any width."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.reports import text
from ckpt_doctor.reports.diff import change, compared
from ckpt_doctor.types import Comparison, Difference


@dataclass(frozen=True)
class Case:
    """A comparison to print."""

    comparison: Comparison
    width: int


words = st.text("abcdefgh_", min_size=1, max_size=20)
plain = st.one_of(st.integers(), st.floats(), words, st.none(), st.text(max_size=150))
found = st.builds(
    Difference,
    st.lists(st.one_of(words, st.integers(0, 9)), min_size=1, max_size=7).map(tuple),
    st.sampled_from(["added", "removed", "changed"]),
    plain,
    plain,
)
cases = st.builds(
    Case,
    st.builds(Comparison, st.lists(found, max_size=5).map(tuple), st.just(()), st.integers(0, 5), st.booleans()),
    st.integers(60, 160),
)


@given(cases)
def test_names_are_whole_and_no_line_is_too_wide(case: Case) -> None:
    """A long value takes a line of its own rather than room from the names."""
    printed = compared(case.comparison, Path("a"), Path("b"), width=case.width)
    assert all(text.display_width(line) <= case.width for line in printed.splitlines())
    for difference in case.comparison.values:
        assert text.shorten(difference.name, case.width - 6) in printed


@pytest.mark.parametrize("pair", [("4", 4), ("None", None), (b"a", "a"), ("1.5", 1.5)])
def test_values_that_look_alike_are_told_apart(pair: tuple[object, object]) -> None:
    """A line that reads `4 -> 4` would say nothing."""
    left, right = change(Difference(("epoch",), "changed", *pair)).split(" -> ")
    assert left != right
