"""Runs of the Hugging Face Trainer: of a healthy one nothing is said, of a faulty one its fault with its cure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor import repair, scan
from tests.trainers.hf_trainer.runs import TOTAL, adam_from_before, change_state, judged, linear, remove, told


def test_a_healthy_run_is_silent_and_identical(run: Path) -> None:
    report = scan([run])
    assert [] == [(f.code, f.message) for f in report.findings]
    assert {("hf", "identical", "ok")} == {(f.trainer, f.resume, f.verdict) for f in report.files}
    assert [run] == [one.run.path for one in report.runs]
    plan = judged(run / "checkpoint-14").plan
    assert plan is not None
    assert (plan.start_epoch, plan.skip_batches, plan.global_step, plan.steps_left) == (1, 4, 14, TOTAL - 14)
    assert plan.next_lr == plan.next_lr_uninterrupted == 0.01 * linear(14)


def schedule_from_before(folder: Path) -> None:
    shutil.copy(folder.parent / "checkpoint-14/scheduler.pt", folder / "scheduler.pt")


def rate_of_its_own(folder: Path) -> None:
    state = torch.load(folder / "optimizer.pt")
    for group in state["param_groups"]:
        group["lr"] = 0.5
    torch.save(state, folder / "optimizer.pt")


def no_moments(folder: Path) -> None:
    state = torch.load(folder / "optimizer.pt")
    torch.save({**state, "state": {}}, folder / "optimizer.pt")


def cut(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])

    return spoil


def in_schedule(**values: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        torch.save({**torch.load(folder / "scheduler.pt"), **values}, folder / "scheduler.pt")

    return spoil


def as_state(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "trainer_state.json").write_text(text) and None


def all_of(*spoils: Callable[[Path], object]) -> Callable[[Path], None]:
    return lambda folder: [spoil(folder) for spoil in spoils] and None


def without_step(folder: Path) -> None:
    path = folder / "trainer_state.json"
    state = json.loads(path.read_text())
    del state["global_step"]
    path.write_text(json.dumps(state))


FAULTS: dict[str, tuple[Callable[[Path], object], set[str], str]] = {
    "scheduler.pt": (remove("scheduler.pt"), {"F114"}, "repairable"),
    "optimizer.pt": (remove("optimizer.pt"), {"F114"}, "broken"),
    "trainer_state.json": (remove("trainer_state.json"), {"F114"}, "repairable"),
    "two files that can be written": (remove("scheduler.pt", "trainer_state.json"), {"F114"}, "repairable"),
    "a save that was cut off": (remove("scheduler.pt", "trainer_state.json", "optimizer.pt"), {"F114"}, "broken"),
    "the model": (remove("model.safetensors"), {"F114"}, "broken"),
    "half an optimizer": (cut("optimizer.pt"), {"F101"}, "broken"),
    "half a state": (cut("trainer_state.json"), {"F101"}, "repairable"),
    "an empty state": (as_state(""), {"F104"}, "repairable"),
    "text for a state": (as_state("state"), {"F105"}, "repairable"),
    "a list for a state": (as_state("[1]"), {"L303"}, "repairable"),
    "a state without anything": (as_state("{}"), {"L303"}, "repairable"),
    "no step": (without_step, {"L302"}, "repairable"),
    "half a schedule": (cut("scheduler.pt"), {"F101"}, "repairable"),
    "half of both": (all_of(cut("scheduler.pt"), cut("trainer_state.json")), {"F101"}, "repairable"),
    "half of all": (all_of(cut("optimizer.pt"), cut("trainer_state.json")), {"F101"}, "broken"),
    "other base rates": (in_schedule(base_lrs=[0.02, 0.02]), {"R504"}, "repairable"),
    "a base rate too few": (in_schedule(base_lrs=[0.01]), {"O707"}, "broken"),
    "base rates of NaN": (in_schedule(base_lrs=[float("nan")] * 2), {"O707"}, "broken"),
    "another step": (lambda folder: change_state(folder, global_step=14), {"P403"}, "repairable"),
    "another optimizer": (adam_from_before, {"P403"}, "ok"),
    "another schedule": (schedule_from_before, {"R501"}, "repairable"),
    "another rate": (rate_of_its_own, {"R504"}, "repairable"),
    "another count": (in_schedule(_step_count=5), {"R503"}, "repairable"),
    "no moments": (no_moments, {"O705"}, "ok"),
    "another name": (lambda folder: folder.rename(folder.with_name("checkpoint-25")), {"P401"}, "ok"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_alone(run: Path, fault: str) -> None:
    spoil, codes, verdict = FAULTS[fault]
    spoil(run / "checkpoint-21")
    files = {f.checkpoint.path.name: f for f in scan([run]).files}
    spoiled = next(f for name, f in files.items() if name not in ("checkpoint-7", "checkpoint-14"))
    assert (codes, verdict) == (told(spoiled), spoiled.verdict)
    assert spoiled.resume in ("differs", "impossible")
    assert {"identical"} == {files[name].resume for name in ("checkpoint-7", "checkpoint-14")}


@pytest.mark.parametrize("fault", [name for name, (_, _, verdict) in FAULTS.items() if verdict == "repairable"])
def test_what_is_repairable_is_repaired_to_what_it_was(run: Path, fault: str) -> None:
    folder = run / "checkpoint-21"
    true = {path.name: path.read_bytes() for path in folder.iterdir()}
    FAULTS[fault][0](folder)
    (result,) = repair.migrate([folder])
    assert result.status == "migrated", (result.message, result.refusals)
    assert {"identical"} == {f.resume for f in scan([run]).files}
    for name in ("optimizer.pt", "scheduler.pt"):
        (folder / "as it was").write_bytes(true[name])
        was, now = torch.load(folder / "as it was"), torch.load(folder / name)
        assert str(was) == str(now)
    (folder / "as it was").unlink()
    assert json.loads(true["trainer_state.json"])["global_step"] == 21
    assert repair.undo([folder])[0].status == "undone"


STATES: dict[str, dict[str, Any]] = {
    "log_history": {"log_history": {}},
    "total_flos": {"total_flos": None},
    "train_batch_size": {"train_batch_size": "4"},
    "best_metric": {"best_metric": "1.5"},
    "best_model_checkpoint": {"best_model_checkpoint": ["checkpoint-10"]},
    "stateful_callbacks": {"stateful_callbacks": None},
    "stateful_callbacks.TrainerControl": {"stateful_callbacks": {"EarlyStoppingCallback": {}}},
}


@pytest.mark.parametrize("key", STATES)
def test_a_value_with_which_the_trainer_stops_is_told(best_run: Path, key: str) -> None:
    """Each was resumed with the real Trainer (5.24) and raised."""
    change_state(best_run / "checkpoint-15", **STATES[key])
    file = judged(best_run / "checkpoint-15")
    assert ("impossible", "broken") == (file.resume, file.verdict)
    assert f"trainer_state.json.{key}" in {f.where for f in file.findings if f.code in ("L302", "L303", "O707")}


def test_a_parameter_without_a_gradient_in_some_steps_is_a_note(run: Path) -> None:
    """As of a layer that joined late, a layer that is dropped at random, an expert."""
    folder = run / "checkpoint-21"
    saved = torch.load(folder / "optimizer.pt")
    saved["state"][1]["step"] -= 9
    torch.save(saved, folder / "optimizer.pt")
    assert ("identical", set()) == (judged(folder).resume, told(judged(folder)))
    assert "P403" in told(judged(folder), "info")
    for entry in saved["state"].values():
        entry["step"] -= 3
    torch.save(saved, folder / "optimizer.pt")
    assert "P403" in told(judged(folder)), "none has made them all"
