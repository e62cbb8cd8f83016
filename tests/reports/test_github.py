"""GitHub's workflow commands: one per finding, which no name can break out of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.reports.github import annotation, escape_data, escape_property, github
from ckpt_doctor.types import Finding, Located
from tests.reports.report_samples import IN_SCRIPT, NO_BEST_SCORE, RATE_JUMP, example, placed


def test_a_github_annotation_has_level_place_and_title() -> None:
    line = annotation(IN_SCRIPT)
    assert line.startswith("::warning file=run_main.py,line=3,col=5,endLine=4,title=E601 missing-best-score::Early")


def test_an_info_is_a_notice() -> None:
    assert annotation(Located(Finding("S203", "n", "info", "m"), Path("a"))).startswith("::notice ")


@given(st.text(), st.text(min_size=1))
def test_nothing_in_a_name_or_a_message_starts_a_second_command(name: str, message: str) -> None:
    """One line per finding, and the properties come back when unescaped as the runner does it."""
    line = annotation(Located(Finding("E1", "a-name", "error", message), Path("x") / name.replace("\0", "")))
    assert len(line.splitlines()) == 1
    head, _, _ = line.removeprefix("::error ").partition("::")
    keys = [part.partition("=")[0] for part in head.split(",")]
    assert keys == ["file", "title"]


@pytest.mark.parametrize(
    ("text", "data", "value"),
    [
        ("50%", "50%25", "50%25"),
        ("a: b, c", "a: b, c", "a%3A b%2C c"),
        ("a::b", "a::b", "a%3A%3Ab"),
        ("%0A", "%250A", "%250A"),
    ],
)
def test_messages_and_properties_are_escaped_as_the_runner_reads_them(text: str, data: str, value: str) -> None:
    assert (escape_data(text), escape_property(text)) == (data, value)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_the_runner_gets_the_path_and_the_message_back(text: str) -> None:
    """Unescaped in the order of the runner's parser (`ActionCommand.cs`): `%25` last."""
    line = annotation(Located(Finding("E1", "a-name", "error", text), Path("x", text.replace("/", "-"))))
    head, _, message = line.removeprefix("::error ").partition("::")
    place = head.removeprefix("file=").removesuffix(",title=E1 a-name")
    for sign, code_of in ((",", "%2C"), (":", "%3A"), ("\n", "%0A"), ("\r", "%0D"), ("%", "%25")):
        place = place.replace(code_of, sign)
    assert Path("x", text.replace("/", "-")).as_posix() == place
    assert text == message.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")


def test_one_annotation_per_finding() -> None:
    assert len(github(placed(example())).splitlines()) == 5


def test_a_cure_that_repairs_is_told_the_file_and_another_is_left_as_it_is() -> None:
    line = annotation(Located(NO_BEST_SCORE, Path("a run/b")))
    assert line.endswith("Cure: ckpt-doctor migrate --add-best-score 'a run/b'")
    assert annotation(Located(RATE_JUMP, Path("b"))).endswith("to the resume command")
