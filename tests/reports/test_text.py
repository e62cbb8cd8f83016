"""Terminal text: what a name may do to a terminal, and how wide it is."""

from __future__ import annotations

from unicodedata import category, east_asian_width

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.reports import text

NAMES = st.text(alphabet="abc_0123./长期预测检查点ｶé\u0301", max_size=40)
ANYTHING = st.text(st.characters(), max_size=60)


def columns(line: str) -> int:
    """An independent measure: two columns for wide and fullwidth characters, none for combining marks."""
    return sum(2 if east_asian_width(c) in "WF" else int(category(c) != "Mn") for c in line)


@given(ANYTHING)
def test_cleaned_text_shows_every_character_and_moves_no_cursor(name: str) -> None:
    cleaned = text.clean(name)
    assert not [c for c in cleaned if category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    cleaned.encode("utf-8")


@pytest.mark.parametrize("name", ["checkpoint_step_17000", "长期预测 é", "a\u3000b"])
def test_ordinary_names_are_shown_as_they_are(name: str) -> None:
    assert name == text.clean(name)


def test_a_terminal_sequence_becomes_visible_text() -> None:
    assert text.clean("\x1b[2J\n\u202e") == r"\x1b[2J\n\u202e"


def test_an_undecodable_byte_of_a_file_name_becomes_an_escape() -> None:
    assert text.clean(b"a\xff".decode("utf-8", "surrogateescape")) == r"a\udcff"


@given(st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=1, max_size=5))
def test_columns_of_a_grid_start_at_the_same_place_whatever_the_script(rows: list[tuple[str, str, str]]) -> None:
    """The last column, right-aligned, ends in one display column in all lines."""
    rows = [(a, b, c + "x") for a, b, c in rows]
    assert len({columns(line) for line in text.grid(rows, "<<>")}) == 1


@given(NAMES, st.integers(0, 30))
def test_a_shortened_name_fits(name: str, width: int) -> None:
    assert columns(text.shorten(name, width)) <= width or columns(name) <= width


@given(NAMES, st.integers(8, 30))
def test_a_name_that_fits_is_not_shortened(name: str, width: int) -> None:
    assert (columns(name) <= width) == (text.shorten(name, width) == name)


def test_a_long_name_keeps_both_its_ends() -> None:
    assert text.shorten("long_term_forecast_ETTh1_Exp_0-Llama", 16) == "long_t...0-Llama"


@given(st.text(alphabet="ab 长期预测", max_size=120), st.integers(12, 40))
def test_wrapped_lines_fit_and_lose_nothing(sentence: str, width: int) -> None:
    lines = text.wrap(sentence, width, "- ", "  ")
    too_long = max(map(columns, sentence.split()), default=0) > width - 2
    assert too_long or max(map(columns, lines)) <= width
    assert "".join(sentence.split()) == "".join("".join(line[2:].split()) for line in lines)


def test_a_path_is_never_broken_over_two_lines() -> None:
    path = "logs/" + "x" * 60
    assert f"    {path}" in text.wrap(f"evidence at hand: {path}", 40, "  ", "    ")


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (210_000, "210 KB"),
        (999_499, "999 KB"),
        (999_500, "1.0 MiB"),
        (1 << 20, "1.0 MiB"),
        (1000 << 20, "1.0 GiB"),
        (9_985_798_963, "9.3 GiB"),
        (3 << 40, "3.0 TiB"),
    ],
)
def test_sizes_are_in_the_unit_that_leaves_few_digits(n: int, expected: str) -> None:
    assert expected == text.size(n)


@pytest.mark.parametrize("n", [10**5000, -(10**5000)], ids=["positive", "negative"])
def test_an_integer_with_more_digits_than_python_prints_is_still_shown(n: int) -> None:
    assert "2^16610" in text.integer(n)
    assert "2^16610" in text.brief([n])


def test_a_list_that_holds_itself_is_shown_and_ends() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert "..." in text.brief(endless)


@pytest.mark.parametrize(("x", "expected"), [(4e-06, "4e-06"), (0.01, "0.01"), (3.2e-4, "0.00032"), (None, "-")])
def test_rates_read_as_in_a_configuration(x: float | None, expected: str) -> None:
    assert expected == text.rate(x)
