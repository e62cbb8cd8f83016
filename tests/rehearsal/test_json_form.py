"""The JSON of traces and rehearsals, against the schema that ships in the package."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from ckpt_doctor.rehearsal.divergence import compare
from ckpt_doctor.rehearsal.json_form import comparison_json, loops_json, rehearsal_json
from ckpt_doctor.rehearsal.loop import describe
from ckpt_doctor.rehearsal.rehearsing import Rehearsal, Resumed
from tests.rehearsal.loops import STEPS, Habits, recorded
from tests.reports.test_schema import problems


def test_loops_comparisons_and_rehearsals_are_as_the_schema_says(tmp_path: Path) -> None:
    first = recorded(Habits(), tmp_path, "a.trace")
    second = recorded(Habits(), tmp_path, "b.trace", resume=tmp_path / "epoch1.pt")
    loop, comparison = describe(first), compare([first], [second])

    shown = json.loads(loops_json([first], [loop]))
    assert problems("trace", shown) == []
    assert shown["traces"][0]["options"] == list(loop.options)

    shown = json.loads(comparison_json(comparison))
    assert problems("trace", shown) == []
    assert shown["comparison"]["first_step"] == 2 * STEPS + 1
    assert [one["quantity"] for one in shown["comparison"]["differences"]]

    predicted = SimpleNamespace(resume="identical", verdict="ok", serious=[])
    resumed = Resumed((), comparison, frozenset({"model", "optimizer", "scheduler"}))
    result = Rehearsal(("python", "train.py"), "epoch1.pt", 13, 24, predicted, resumed, None, (), loop)  # type: ignore[arg-type]
    shown = json.loads(rehearsal_json(result))
    assert problems("rehearse", shown) == []
    assert (shown["holds"], shown["was_right"], shown["as_saved"]["outcome"]) == (True, True, "restored")
