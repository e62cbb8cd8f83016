"""What was recovered from a damaged file, what is lost, and what the new file is good for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ckpt_doctor.reports.salvaging import GOOD_FOR, MOST_NAMES, salvaged
from ckpt_doctor.types import SalvageResult
from tests.reports.report_samples import HOSTILE

RESULT = SalvageResult(Path("a.pt"), Path("b.pt"), ("w", "b"), ("head",), ("sparse",), ("args",), "parts", 2048)


def test_counts_names_and_use_are_told() -> None:
    lines = salvaged(RESULT).splitlines()
    assert lines[0].startswith("b.pt: 2 of 3 tensors recovered, ")
    for title, name in (("lost", "head"), ("taken apart", "sparse"), ("left out", "args")):
        at = next(number for number, line in enumerate(lines) if line.strip().startswith(title))
        assert f"    {name}" == lines[at + 1]


@pytest.mark.parametrize("use", GOOD_FOR)
def test_what_the_new_file_is_good_for_is_the_last_sentence(use: str) -> None:
    told = " ".join(salvaged(replace(RESULT, good_for=use)).split())
    assert told.endswith(f"{GOOD_FOR[use]}.")


def test_what_there_is_none_of_is_not_mentioned() -> None:
    whole = salvaged(replace(RESULT, lost=(), taken_apart=(), left_out=(), good_for="resume"))
    assert "2 of 2 tensors recovered" in whole
    assert not any(word in whole for word in ("lost", "taken apart", "left out"))


def test_long_lists_are_cut_and_names_fit_and_do_nothing() -> None:
    names = tuple(f"{'x' * 90}{number}{HOSTILE}" for number in range(MOST_NAMES + 5))
    lines = salvaged(replace(RESULT, lost=names), width=60).splitlines()
    assert "    ... and 5 more" in lines
    assert all(len(line) <= 60 and line.isprintable() for line in lines)
