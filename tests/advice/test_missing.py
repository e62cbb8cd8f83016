"""What no file shows is asked for at once; a log that may be the run's is offered, and another one is named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.advice.drive import FILLED_IN, Call, advice, runs


def test_all_that_bare_weights_miss_is_asked_for_at_once(drive: Path, call: Call) -> None:
    """One command, not one refusal after the other."""
    told = advice("from the lab")
    assert ["--epoch", "--steps-per-epoch", "--val-loss"] == [blank.option for blank in told.missing]
    assert 0 == call(*(FILLED_IN.get(word, word) for word in told.otherwise[1:])).exit_code
    [file] = runs()["from the lab"].files
    assert ("training", -0.5) == (file.checkpoint.layout, file.checkpoint.get("best_score"))


def test_the_log_of_a_renamed_folder_is_offered_and_one_of_another_run_is_not(drive: Path) -> None:
    assert Path("logs/train_type1_20260126_120000.log") == advice("old run (backup)").log
    (drive / "checkpoints" / "old run (backup)").rename(drive / "checkpoints" / "again")
    named = {run.advice.log for run in runs().values() if run.advice}
    assert Path("logs/train_COS_20260126_120000.log") not in named


def test_a_log_that_is_not_taken_is_named_with_the_reason(drive: Path, call: Call) -> None:
    shutil.rmtree(drive / "checkpoints" / next(n for n in os.listdir("checkpoints") if n.endswith("COS")))
    told = advice("old run (backup)")
    assert ["train_COS_20260126_120000.log"] == [left.path.name for left in told.left_logs]
    assert "not taken: logs/train_COS_20260126_120000.log: " in call("scan").stdout
