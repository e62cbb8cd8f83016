"""A better checkpoint beside those that were asked for is named."""

from __future__ import annotations

from pathlib import Path

from tests.advice.drive import Call


def test_check_names_a_better_one_that_lies_beside(drive: Path, call: Call) -> None:
    [run] = (drive / "checkpoints").glob("*COS")
    checked = call("check", run / "checkpoint_step_90").stdout
    assert checked.startswith("checkpoint_step_90 is not safe to resume from: F101")
    assert "better: checkpoint_step_75 (step 75) lies beside it" in checked
    assert "better:" not in call("check", run / "checkpoint_step_75").stdout
