"""Runs of the Hugging Face Trainer: of a healthy one nothing is said, of a faulty one its fault with its cure."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from ckpt_doctor import audit, facts, latest, repair, scan
from ckpt_doctor.cli.main import app
from ckpt_doctor.repair import execution
from ckpt_doctor.training.pruning import prune
from ckpt_doctor.types import FileReport
from tests.trainers.hf_trainer.runs import ARGUMENTS, TOTAL, Writer, change_state, linear, random_states, save_arguments

BEST = {"metric_for_best_model": "loss", "eval_strategy": "steps"}
RESTORED = "restore_callback_states_from_checkpoint"
LOSSES = {5: 3.0, 10: 1.0, 15: 1.5, 20: 1.2}


def told(file: FileReport, least: str = "warning") -> set[str]:
    return {f.code for f in file.findings if f.severity != "info" or least == "info"}


def judged(folder: Path, **given: Any) -> FileReport:
    return audit.check(folder, facts=facts(**given)).files[0]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Writer(tmp_path / "run").write(7, 14, 21)


@pytest.fixture
def best_run(tmp_path: Path) -> Path:
    return Writer(tmp_path / "run", BEST, LOSSES, patience=3).write(5, 10, 15, 20)


def test_a_healthy_run_is_silent_and_identical(run: Path) -> None:
    report = scan([run])
    assert [] == [(f.code, f.message) for f in report.findings]
    assert {("hf", "identical", "ok")} == {(f.trainer, f.resume, f.verdict) for f in report.files}
    assert [run] == [one.run.path for one in report.runs]
    plan = judged(run / "checkpoint-14").plan
    assert plan is not None
    assert (plan.start_epoch, plan.skip_batches, plan.global_step, plan.steps_left) == (1, 4, 14, TOTAL - 14)
    assert plan.next_lr == plan.next_lr_uninterrupted == 0.01 * linear(14)


def test_the_names_of_another_trainer_are_null_and_its_own_have_the_values(best_run: Path) -> None:
    args = ["scan", str(best_run / "checkpoint-20"), "--format", "json"]
    document = json.loads(CliRunner().invoke(app, args).stdout)
    (unit,), (run,) = document["units"], document["runs"]
    assert {"best_metric": LOSSES[10], "early_stopping_patience_counter": 2} == unit["training"]["own"]
    assert [None] * 4 == [run["lradj"], *(unit["training"][name] for name in ("best_score", "val_loss_min", "counter"))]
    shown = CliRunner().invoke(app, ["inspect", args[1]]).stdout
    assert "best_metric" in shown and "best_score" not in shown


def test_a_batch_is_skipped_for_each_step_times_the_accumulation(tmp_path: Path) -> None:
    run = Writer(tmp_path / "run", {"gradient_accumulation_steps": 3}).write(14)
    plan = judged(run / "checkpoint-14").plan
    assert plan is not None and (plan.start_epoch, plan.skip_batches) == (1, 12)


def test_the_finished_run_is_a_note_in_a_scan_and_a_warning_at_the_gate(tmp_path: Path) -> None:
    run = Writer(tmp_path / "run").write(30, TOTAL)
    assert [("P404", "info")] == [(f.code, f.severity) for f in scan([run]).findings]
    assert "P404" in told(judged(run / f"checkpoint-{TOTAL}"))


def remove(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def adam_from_before(folder: Path) -> None:
    shutil.copy(folder.parent / "checkpoint-14/optimizer.pt", folder / "optimizer.pt")


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


def spoiled_random_state(folder: Path, name: str, key: str) -> None:
    states = torch.load(folder / name, weights_only=False)
    del states[key]
    torch.save(states, folder / name)


@pytest.mark.parametrize("key", ["python", "numpy", "cpu"])
def test_a_random_state_that_lacks_a_generator_stops_its_process(run: Path, key: str) -> None:
    two_processes(run / "checkpoint-21")
    assert "identical" == judged(run / "checkpoint-21").resume
    spoiled_random_state(run / "checkpoint-21", "rng_state_1.pth", key)
    file = judged(run / "checkpoint-21")
    assert ("impossible", {"L302"}) == (file.resume, told(file))
    torch.save({**random_states(), key: 3}, run / "checkpoint-21/rng_state_1.pth")
    assert {"O707"} == told(judged(run / "checkpoint-21"))


def test_true_picks_the_highest_number_and_latest_another(run: Path) -> None:
    remove("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth")(run / "checkpoint-21")
    (run / "checkpoint-30").mkdir()
    assert audit.resume_file(run) == run / "checkpoint-30"
    assert {"F114"} == told(audit.check(run).files[0])
    path, passed_over = latest(run)
    assert path == run / "checkpoint-14" and len(passed_over) == 2
    printed = CliRunner().invoke(app, ["check", str(run)])
    assert printed.exit_code == 1 and "better: checkpoint-14 (step 14 of 40)" in printed.output


def test_latest_prefers_a_checkpoint_whose_parts_are_of_one_step(run: Path) -> None:
    adam_from_before(run / "checkpoint-21")
    assert latest(run)[0] == run / "checkpoint-14"


def test_weights_saved_on_purpose_are_a_note_and_stop_the_gate(run: Path) -> None:
    folder = run / "checkpoint-21"
    remove("optimizer.pt", "scheduler.pt", "rng_state.pth")(folder)
    found = next(f for f in scan([run]).files if f.checkpoint.path == folder)
    assert set() == told(found) and {"F114"} == told(found, "info")
    assert "on purpose" in next(f.message for f in found.findings if f.code == "F114")
    assert 1 == CliRunner().invoke(app, ["check", str(folder)]).exit_code
    assert latest(run)[0] == run / "checkpoint-14"


def deepspeed(folder: Path) -> None:
    remove("optimizer.pt", "scheduler.pt")(folder)
    (folder / "global_step21").mkdir()
    torch.save({"module": {}}, folder / "global_step21/mp_rank_00_model_states.pt")
    states = {"optimizer_state_dict": {"zero_stage": 1, "partition_count": 1}}
    torch.save(states, folder / "global_step21/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt")
    (folder / "latest").write_text("global_step21")


def fsdp(folder: Path) -> None:
    (folder / "optimizer.pt").rename(folder / "optimizer.bin")


def adapter(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def old_names(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a.weight": torch.ones(3, 2), "a.bias": torch.ones(3)}, folder / "pytorch_model.bin")
    path = folder / "trainer_state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in state.items() if k not in ("best_global_step", "stateful_callbacks")}))


def two_processes(folder: Path) -> None:
    (folder / "rng_state.pth").unlink()
    for rank in range(2):
        torch.save(
            {**random_states(), "cuda": [torch.zeros(16, dtype=torch.uint8)] * 2}, folder / f"rng_state_{rank}.pth"
        )


def skipped_steps(folder: Path) -> None:
    """Under fp16: two steps that neither Adam nor the schedule counted."""
    number = int(folder.name.removeprefix("checkpoint-"))
    torch.save(
        {"scale": 1.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 9, "_growth_tracker": 1},
        folder / "scaler.pt",
    )
    change_state(folder, global_step=number + 2, epoch=(number + 2) / 10)
    folder.rename(folder.with_name(f"checkpoint-{number + 2}"))


@pytest.mark.parametrize("form", [deepspeed, fsdp, adapter, old_names, two_processes, skipped_steps])
def test_other_forms_are_no_faults(run: Path, form: Callable[[Path], None]) -> None:
    for folder in list(run.iterdir()):
        if form is not deepspeed or folder.name == "checkpoint-21":
            form(folder)
    report = scan([run])
    assert [] == [(f.code, f.message) for f in report.findings if f.severity != "info"]
    assert {"hf"} == {f.trainer for f in report.files}
    assert "F114" not in {f.code for f in report.findings}


@pytest.mark.parametrize("steps, resume", [(4, "identical"), (2, "open")])
def test_a_plateau_makes_a_step_at_each_evaluation(best_run: Path, steps: int, resume: str) -> None:
    folder = best_run / "checkpoint-20"
    saved = torch.load(folder / "optimizer.pt")
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(3))])
    optimizer.param_groups[0]["lr"] = saved["param_groups"][0]["lr"]
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    for loss in list(LOSSES.values())[:steps]:
        scheduler.step(loss)
    torch.save(
        {**scheduler.state_dict(), "_last_lr": [g["lr"] for g in saved["param_groups"]]}, folder / "scheduler.pt"
    )
    command = {**ARGUMENTS, **BEST, "lr_scheduler_type": "reduce_lr_on_plateau", RESTORED: True}
    save_arguments(folder, command)
    assert (resume, set()) == (judged(folder).resume, told(judged(folder)))
    # Resumed at step 13, which is no evaluation's: the one on start is not a step of the plateau
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    change_state(folder, log_history=[{"epoch": 1.3, "eval_loss": 9.0, "step": 13}, *log])
    assert "open" == judged(folder).resume
    by_epochs = "identical" if steps == 2 else "open"  # of which there are two
    for strategy, expected in (("steps", resume), ("epoch", by_epochs)):
        save_arguments(folder, {**command, "eval_on_start": True, "eval_strategy": strategy})
        assert expected == judged(folder).resume


def test_a_process_without_random_state_is_told(run: Path) -> None:
    for folder in run.iterdir():
        two_processes(folder)
    (run / "checkpoint-21/rng_state_1.pth").unlink()
    assert [("L306", "info")] == [(f.code, f.severity) for f in scan([run]).findings]


def test_the_finished_model_in_the_output_folder_is_no_fault(run: Path) -> None:
    for name in ("model.safetensors", "config.json", "training_args.bin"):
        shutil.copy(run / "checkpoint-21" / name, run / name)
    (run / "trainer_state.json").write_text(json.dumps({"global_step": 40}))
    report = scan([run])
    assert [] == [f.code for f in report.findings if f.severity != "info"]
    assert 3 == sum(f.trainer == "hf" for f in report.files)


def test_accelerates_folders_are_not_the_trainers(tmp_path: Path) -> None:
    folder = tmp_path / "run/checkpoint-500"
    folder.mkdir(parents=True)
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl", "model.safetensors"):
        (folder / name).write_bytes(b"")
    assert "hf" not in {one.run.trainer for one in scan([tmp_path]).runs}


def test_patience_is_told_with_the_flag(best_run: Path) -> None:
    found = {f.checkpoint.path.name: f for f in scan([best_run]).files}
    assert {"checkpoint-15", "checkpoint-20"} == {name for name, f in found.items() if told(f) == {"E609"}}
    assert found["checkpoint-10"].resume == "identical" and found["checkpoint-20"].resume == "differs"
    flags = CliRunner().invoke(app, ["check", str(best_run / "checkpoint-20"), "--flags"])
    assert (0, "--restore_callback_states_from_checkpoint True") == (flags.exit_code, flags.stdout.strip())
    save_arguments(best_run / "checkpoint-20", {**BEST, "restore_callback_states_from_checkpoint": True})
    assert set() == told(judged(best_run / "checkpoint-20"))


def test_an_exhausted_patience_is_told(tmp_path: Path) -> None:
    run = Writer(tmp_path / "run", BEST, LOSSES, patience=2).write(10, 20)
    assert {"E604"} == told(judged(run / "checkpoint-20"))


LOST: dict[str, tuple[dict[str, Any], str]] = {
    "forgotten": ({"best_metric": None, "best_global_step": None, "best_model_checkpoint": None}, "E601"),
    "another": ({"best_metric": 1.2, "best_global_step": 20}, "E605"),
    "moved": ({"best_model_checkpoint": "/content/drive/old/checkpoint-10"}, "E610"),
}


@pytest.mark.parametrize("how", LOST)
def test_the_best_is_replayed(best_run: Path, how: str) -> None:
    folder = best_run / "checkpoint-10"
    values, code = LOST[how]
    for other in best_run.iterdir():
        save_arguments(other, {**BEST, "restore_callback_states_from_checkpoint": True})
    change_state(folder, **values)
    found = judged(folder)
    assert {code} == told(found) and found.verdict == "repairable"
    (result,) = repair.migrate([folder], fixes=["fix-best-path" if how == "moved" else "add-best-score"])
    assert result.status == "migrated", result.message
    state = json.loads((folder / "trainer_state.json").read_text())
    assert (state["best_metric"], state["best_global_step"]) == (1.0, 10)
    assert Path(state["best_model_checkpoint"]).name == "checkpoint-10"
    assert set() == told(judged(folder))


def test_a_best_folder_that_was_deleted_is_told_and_a_download_is_not(best_run: Path) -> None:
    shutil.rmtree(best_run / "checkpoint-10")
    assert "E610" in told(judged(best_run / "checkpoint-15"))
    assert judged(best_run / "checkpoint-15").verdict == "ok"
    for name in ("checkpoint-5", "checkpoint-20"):
        shutil.rmtree(best_run / name)
    assert "E610" not in told(judged(best_run / "checkpoint-15"))


def test_a_callback_that_a_sibling_has_is_put_back(best_run: Path) -> None:
    folder = best_run / "checkpoint-20"
    change_state(folder, stateful_callbacks={"TrainerControl": {"args": {}, "attributes": {}}})
    assert {"L302"} == told(judged(folder))
    assert repair.migrate([folder])[0].status == "migrated"
    callbacks = json.loads((folder / "trainer_state.json").read_text())["stateful_callbacks"]
    assert callbacks["EarlyStoppingCallback"]["attributes"]["early_stopping_patience_counter"] == 2


def test_the_parts_of_the_plan_are_the_ones_that_are_written(best_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long history is spelled out once, not for the cost and again for the write."""
    folder = best_run / "checkpoint-20"
    change_state(folder, stateful_callbacks={"TrainerControl": {"args": {}, "attributes": {}}})
    planned = repair.plan([folder])
    ((change,),) = [file.changes for file in planned.files]
    monkeypatch.delattr(execution, "part_changes")  # nobody makes them again
    assert "migrated" == repair.apply(planned)[0].status
    assert change.data == (folder / change.name).read_bytes()


CHANGED: dict[str, tuple[dict[str, Any], str]] = {
    "epochs": ({"num_train_epochs": 6}, "0.00633333 instead of 0.0045"),
    "steps": ({"max_steps": 20}, "nothing is trained"),
    "batch": ({"per_device_train_batch_size": 8}, "nothing is trained"),
    "accumulation": ({"gradient_accumulation_steps": 2}, "nothing is trained"),
    "rate": ({"learning_rate": 0.1}, "ignores the new rate"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_changed_command_is_told_with_what_follows(run: Path, what: str) -> None:
    given, follows = CHANGED[what]
    found = judged(run / "checkpoint-21", **given)
    assert {"R512"} <= told(found)
    assert follows in next(f.message for f in found.findings if f.code == "R512")


def test_the_same_command_is_no_change(run: Path) -> None:
    same = {"num_train_epochs": 4.0, "max_steps": TOTAL, "learning_rate": 0.01, "per_device_train_batch_size": 4}
    assert set() == told(judged(run / "checkpoint-21", **same))


def test_data_that_is_not_skipped_is_told(tmp_path: Path) -> None:
    run = Writer(tmp_path / "run", {"ignore_data_skip": True}).write(10, 14)
    assert {"P410"} == told(judged(run / "checkpoint-14"))
    assert set() == told(judged(run / "checkpoint-10"))


def test_pruning_keeps_the_best_and_the_newest(best_run: Path) -> None:
    result = prune(best_run, 1)
    assert {"checkpoint-5", "checkpoint-15"} == {path.name for path in result.removed}
    assert {"checkpoint-10", "checkpoint-20"} == {path.name for path in best_run.glob("checkpoint-*")}


def test_the_token_is_never_printed(run: Path) -> None:
    for command in (["scan", "-v"], ["scan", "--format", "json"], ["scan", "--format", "html"], ["check"]):
        path = run / "checkpoint-21" if command == ["check"] else run
        assert "hf_secret" not in CliRunner().invoke(app, [*command, str(path)]).output
    save_arguments(run / "checkpoint-14", {**ARGUMENTS, "hub_token": "hf_other"})
    for names in (["7", "14"], ["14", "7"]):
        printed = CliRunner().invoke(app, ["diff", *(str(run / f"checkpoint-{name}") for name in names)]).output
        assert "hub_token" in printed and "hf_secret" not in printed and "hf_other" not in printed


def calls_of(run: Path) -> int:
    """Calls of Python functions that a scan of the run makes."""
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(counted)
    try:
        scan([run])
    finally:
        sys.setprofile(None)
    return count


def test_what_a_checkpoint_costs_does_not_grow_with_the_run(run: Path) -> None:
    """Not even where none has an optimizer, for whose state each would be asked."""
    each = {}
    for many in (10, 10, 50):  # the first imports what the others use
        for number in range(101, 101 + many):
            folder = run.parent / f"run_{many}" / f"checkpoint-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("trainer_state.json", "scheduler.pt"):
                if not (folder / name).exists():
                    os.link(run / "checkpoint-7" / name, folder / name)
        each[many] = calls_of(run.parent / f"run_{many}") / many
    assert each[50] < 1.02 * each[10]
