"""Several runs in one output folder are told apart by what they have logged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckpt_doctor import audit, scan
from ckpt_doctor.advice import find_latest
from tests.trainers.hf_trainer.runs import Writer, change_state


def logs(folder: Path, *losses: float | None) -> None:
    """A history with these losses at the first steps, none where it was not logged."""
    steps = [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1) if loss is not None]
    change_state(folder, log_history=steps)


def said(run: Path) -> list[str]:
    """What is said of the folder as a whole."""
    return [finding.message for report in audit.scan([run]).runs for finding in report.findings]


@pytest.fixture(name="run")
def three(tmp_path: Path) -> Path:
    """A run with three checkpoints."""
    return Writer(tmp_path / "out").write(1, 2, 3)


@pytest.mark.parametrize(
    "histories",
    [
        ([3.0], [3.0, 2.0], [3.0, 2.0, 1.0]),
        ([float("nan")], [float("nan"), 2.0], [float("nan"), 2.0, 1.0]),
        ([], [None, 2.0], [None, 2.0, None]),
        ([3.0], [3.0], [3.0, 2.0, 1.0]),
    ],
)
def test_one_run_is_one(run, histories):
    """With gaps, with NaN, and with a state that was written anew from the one before it."""
    for step, history in enumerate(histories, 1):
        logs(run / f"checkpoint-{step}", *history)
    assert [] == said(run)


def test_two_runs_are_told_apart_once(run):
    """The new run has overwritten the first two; the third, of the highest number, is the old one's."""
    for step, history in enumerate(([3.0], [3.0, 2.0], [3.5, 2.5, 1.5]), 1):
        logs(run / f"checkpoint-{step}", *history)
    (message,) = said(run)
    assert "2 runs (checkpoint-1, checkpoint-2; checkpoint-3)" in message
    assert "at step 1 one has logged the loss 3 and another 3.5" in message
    printed = str(scan([run]))
    assert 1 == printed.count("P407")
    assert "3 files without a finding" in printed, "the table has no row"


def test_another_interval_of_logging_is_another_run(run):
    for step, history in enumerate(([None], [None, 2.0], [3.0, None, 1.0]), 1):
        logs(run / f"checkpoint-{step}", *history)
    assert 1 == len(said(run))


def test_a_wrong_count_makes_no_second_run(run):
    change_state(run / "checkpoint-3", global_step=1)
    assert [] == said(run)


def test_none_of_several_runs_is_resumed_silently(run):
    """It is open which of them goes on, and the one written last is named."""
    logs(run / "checkpoint-1", 9.0)
    advice = find_latest(run).advice
    assert advice is not None
    assert "which of the 2 runs in this folder goes on" in advice.reason
    assert "open" == audit.scan([run]).files[-1].resume
    state = json.loads((run / "checkpoint-1" / "trainer_state.json").read_text())
    (run / "checkpoint-1" / "trainer_state.json").write_text(json.dumps(state))
    assert "checkpoint-1 was written last" in (find_latest(run).advice or advice).reason
