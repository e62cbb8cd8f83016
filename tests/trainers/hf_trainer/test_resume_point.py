"""Where the Trainer resumes from a checkpoint, and where the uninterrupted run was."""

from __future__ import annotations

import shutil
from pathlib import Path

from click.testing import CliRunner

from ckpt_doctor import scan
from ckpt_doctor.cli.main import app
from tests.trainers.hf_trainer.runs import BEST, TOTAL, Writer, judged, save_arguments, told


def test_a_batch_is_skipped_for_each_step_times_the_accumulation(tmp_path: Path) -> None:
    run = Writer(tmp_path / "run", {"gradient_accumulation_steps": 3}).write(14)
    plan = judged(run / "checkpoint-14").plan
    assert plan is not None and (plan.start_epoch, plan.skip_batches) == (1, 12)


def test_the_finished_run_is_a_note_in_a_scan_and_a_warning_at_the_gate(tmp_path: Path) -> None:
    run = Writer(tmp_path / "run").write(30, TOTAL)
    assert [("P404", "info")] == [(f.code, f.severity) for f in scan([run]).findings]
    assert "P404" in told(judged(run / f"checkpoint-{TOTAL}"))


def test_patience_is_told_with_the_flag(best_run: Path) -> None:
    found = {f.checkpoint.path.name: f for f in scan([best_run]).files}
    assert {"checkpoint-15", "checkpoint-20"} == {name for name, f in found.items() if told(f) == {"E609"}}
    assert found["checkpoint-10"].resume == "identical" and found["checkpoint-20"].resume == "differs"
    flags = CliRunner().invoke(app, ["check", str(best_run / "checkpoint-20"), "--flags"])
    assert (0, "--restore_callback_states_from_checkpoint True") == (flags.exit_code, flags.stdout.strip())
    save_arguments(best_run / "checkpoint-20", {**BEST, "restore_callback_states_from_checkpoint": True})
    assert set() == told(judged(best_run / "checkpoint-20"))


def test_data_that_is_not_skipped_is_told(tmp_path: Path) -> None:
    run = Writer(tmp_path / "run", {"ignore_data_skip": True}).write(10, 14)
    assert {"P410"} == told(judged(run / "checkpoint-14"))
    assert set() == told(judged(run / "checkpoint-10"))


def test_the_epoch_and_the_batches_to_skip_are_those_of_the_step(run: Path) -> None:
    """Step 14 of epochs of 10; where its parts contradict each other, the place stays and the step is not claimed."""
    point = judged(run / "checkpoint-14").resume_point
    assert (1, 4, 14, 14) == (point.start_epoch, point.skip_batches, point.global_step, point.last_epoch)
    shutil.copy(run / "checkpoint-7/optimizer.pt", run / "checkpoint-14/optimizer.pt")
    point = judged(run / "checkpoint-14").resume_point
    assert (1, 4, None) == (point.start_epoch, point.skip_batches, point.global_step)


def test_a_given_command_says_how_many_steps_are_left(run: Path) -> None:
    for given, left in (
        ({}, TOTAL - 14),
        ({"num_train_epochs": 6.0}, 46),
        ({"max_steps": 20}, 6),
        ({"max_steps": 9}, 0),
    ):
        plan = judged(run / "checkpoint-14", **given).plan
        assert plan is not None and plan.steps_left == left


def test_without_a_random_state_dropout_draws_other_numbers(run: Path) -> None:
    (run / "checkpoint-14/rng_state.pth").unlink()
    plan = judged(run / "checkpoint-14").plan
    assert plan is not None and any("dropout" in why for why in plan.why_not_exact)
