"""What is printed of a trace and of a comparison."""

from __future__ import annotations

from pathlib import Path

from ckpt_doctor.rehearsal.divergence import Comparison, Difference
from ckpt_doctor.rehearsal.loop import describe
from ckpt_doctor.rehearsal.text import comparison_text, loop_text
from tests.rehearsal.loops import STEPS, Habits, recorded


def test_a_loop_is_told_with_the_options_that_it_settles(tmp_path: Path) -> None:
    trace = recorded(Habits(label=0), tmp_path)
    text = loop_text(trace, describe(trace))
    assert text.startswith(f"{tmp_path / 'run.trace'}: ")
    assert f"in 4 epochs of {STEPS} steps" in text
    assert "OneCycleLR steps once after every optimizer step" in text
    assert text.endswith(f"check CHECKPOINT --resume-epoch label+1 --steps-per-epoch {STEPS}\n")


def test_a_difference_is_told_with_its_step_its_values_and_its_rule() -> None:
    rate = Difference("rate", 0, 41, (0.2,), (0.1,), "the schedule is 1 step late", "R501")
    told = comparison_text(Comparison({0: 40}, "run/last.pt", 9, (rate,)), "whole", "resumed")
    assert told.splitlines() == [
        "resumed goes on from last.pt at step 41 of whole, and differs:",
        "  step 41: rate 0.1 where the uninterrupted run has 0.2: the schedule is 1 step late (R501)",
    ]


def test_an_identical_resume_is_one_line() -> None:
    told = comparison_text(Comparison({0: 40}, "run/last.pt", 9, (), rank=1), "whole", "resumed")
    assert told == "resumed (rank 1) goes on from last.pt at step 41 of whole: identical in 9 steps\n"
