"""What one checkpoint of a run has otherwise than all others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.trainers.hf_trainer.runs import RESTORED, Writer, change_state, judged, told


def points(folder: Path) -> set[str]:
    plan = judged(folder).plan
    return {one.what for one in plan.open} if plan else set()


@pytest.mark.parametrize(("key", "value"), [("weight_decay", 0.3), ("betas", (0.5, 0.9))])
def test_settings_of_one_optimizer_between_others_are_open(run: Path, key: str, value: object) -> None:
    assert {"identical"} == {judged(folder).resume for folder in run.iterdir()}
    part = run / "checkpoint-14/optimizer.pt"
    held = torch.load(part)
    held["param_groups"][0][key] = value
    torch.save(held, part)
    assert {f"optimizer.pt.param_groups[0].{key}"} == points(run / "checkpoint-14")
    assert "open" == judged(run / "checkpoint-14").resume
    assert not points(run / "checkpoint-21"), "of which it is not known whether the script was changed"


@pytest.mark.parametrize("restored", [True, False])
def test_a_callback_of_the_script_keeps_pace_where_it_is_restored(tmp_path: Path, restored: bool) -> None:
    run = Writer(tmp_path / "run", {RESTORED: restored}).write(5, 10, 15, 20, 25)
    for folder in run.iterdir():
        state = json.loads((folder / "trainer_state.json").read_text())
        count = 10 if state["global_step"] == 15 else state["global_step"]
        callbacks = {**state["stateful_callbacks"], "Counting": {"args": {}, "attributes": {"seen": count}}}
        change_state(folder, stateful_callbacks=callbacks)
    found = {folder.name: points(folder) for folder in run.iterdir() if points(folder)}
    name = "stateful_callbacks.Counting.seen beside the number of steps"
    assert found == ({"checkpoint-15": {name}} if restored else {})
    (run / "checkpoint-15/trainer_state.json").unlink()
    assert ("broken" if restored else "repairable") == judged(run / "checkpoint-15").verdict


@pytest.mark.parametrize(("step", "beyond"), [(13, True), (20, False)])
def test_a_training_that_ended_within_an_epoch_makes_one_more_step(tmp_path: Path, step: int, beyond: bool) -> None:
    run = Writer(tmp_path / "run", {"max_steps": step}).write(5, step)
    for folder in run.iterdir():
        change_state(folder, max_steps=step)
    report = judged(run / f"checkpoint-{step}")
    assert {"P404"} <= told(report, "info")
    assert beyond == any("one step more" in finding.message for finding in report.findings)
    assert beyond == bool(report.plan and any("one more step" in why for why in report.plan.why_not_exact))


def test_workers_that_stay_leave_what_dropout_draws_open(tmp_path: Path) -> None:
    run = Writer(tmp_path / "run", {"dataloader_persistent_workers": True}).write(5, 10)
    assert {"whether dropout draws the same numbers"} == points(run / "checkpoint-5")
