"""What `latest` says beside the path that it prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.reports import latest_notes
from ckpt_doctor.types import Latest, Refusal
from tests.reports.report_samples import NO_BEST_SCORE, RATE_JUMP, file


def test_each_finding_of_the_chosen_one_comes_with_its_cure() -> None:
    incurable = replace(RATE_JUMP, code="R510", name="random-state", fix=None)
    accepted = replace(NO_BEST_SCORE, code="L305", severity="info")
    chosen = file("checkpoint", NO_BEST_SCORE, incurable, accepted)
    said = latest_notes(Latest(Path("my run"), chosen, ((Path("newer"), "F101 truncated-archive"),)))
    assert said[0] == "passed over newer: F101 truncated-archive"
    assert said[1].endswith(f"E601 missing-best-score: {NO_BEST_SCORE.fix}")
    assert said[2].endswith("R510 random-state: no edit of the file cures that")
    assert len(said) == 3


@pytest.mark.parametrize(
    ("path", "rest", "end"),
    [
        (None, {}, "is safe to resume from"),
        (Path("a b"), {}, "; `ckpt-doctor migrate --all 'a b'` puts one right"),
        (Path("a"), {"claimed": "plain"}, "; `ckpt-doctor migrate --all --trainer plain a` puts one right"),
        (Path("a"), {"refusals": (Refusal("m", "no log", "--log FILE"),)}, "; no log; give --log FILE"),
    ],
)
def test_where_none_is_safe_the_way_out_is_told(path: Path | None, rest: dict[str, Any], end: str) -> None:
    (sentence,) = latest_notes(Latest(Path("my run"), None, (), path, **rest))
    assert sentence.startswith("no checkpoint in my run is safe to resume from")
    assert sentence.endswith(end)
