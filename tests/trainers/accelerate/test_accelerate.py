"""Folders of `save_state`: what is theirs, silence on healthy ones, each fault by one change."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor import latest, migrate, prune, scan
from ckpt_doctor.audit import check
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.types import FileReport
from tests.trainers.accelerate.runs import SCHEDULES, Trainer, change, run_of

SETTLED = {"shuffle": False}
SHUFFLED = {"shuffle": True, "seedable_sampler": False}


def judged(folder: Path, **given: Any) -> FileReport:
    (file,) = [f for f in scan(folder.parent, facts=facts(**given)).files if f.checkpoint.path == folder]
    return file


def codes(file: FileReport) -> list[str]:
    return [finding.code for finding in file.findings if finding.severity != "info"]


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("schedule", [*SCHEDULES, ""])
def test_healthy_folders_are_silent(tmp_path: Path, schedule: str, world: int) -> None:
    report = scan(run_of(tmp_path, schedule=schedule, world=world), facts=facts(**SETTLED))
    assert [] == report.findings
    assert {("accelerate", "ok", "identical")} == {(file.trainer, file.verdict, file.resume) for file in report.files}
    assert 4 == report.runs[0].run.facts.steps_per_epoch.value  # type: ignore[union-attr]


@pytest.mark.parametrize("each", [1, 2, 3])
def test_batches_of_an_accumulation_are_not_taken_for_steps(tmp_path: Path, each: int) -> None:
    run = run_of(tmp_path, each=each, inside=(2 if each == 2 else 3,))
    report = scan(run, facts=facts(**SETTLED))
    assert [] == [finding for finding in report.findings if finding.severity != "info"]


def test_the_batches_of_an_epoch_are_not_compared_with_the_steps_of_all_epochs(tmp_path: Path) -> None:
    report = scan(run_of(tmp_path, each=2, ends=(4, 8), inside=(11,)), facts=facts(**SETTLED))
    assert [] == [finding for finding in report.findings if finding.severity != "info"]


def test_sgd_counts_no_steps_and_nothing_is_said_of_them(tmp_path: Path) -> None:
    report = scan(run_of(tmp_path, sgd=True), facts=facts(**SETTLED))
    assert [] == [finding for finding in report.findings if finding.severity != "info"]
    assert {"identical", "open"} == {file.resume for file in report.files}


def test_without_facts_the_order_of_the_data_is_open(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    assert {"open"} == {file.resume for file in scan(run).files}
    settle = {point.settle for file in scan(run).files for point in file.not_checked}
    assert {"--shuffle or --no-shuffle", "--no-seedable-sampler or --no-shuffle"} <= settle
    assert "identical" == judged(run / "epoch_1", **SHUFFLED).resume


# --- whose folder ----------------------------------------------------------------------------------------------------


def test_a_folder_of_transformers_trainer_is_not_ours(tmp_path: Path) -> None:
    folder = Trainer(tmp_path).save("checkpoint-0")
    (folder / "trainer_state.json").write_text("{}")
    assert "accelerate" not in {file.trainer for file in scan(tmp_path).files}


def test_a_folder_of_weights_alone_is_not_ours(tmp_path: Path) -> None:
    folder = Trainer(tmp_path).save("step_4")
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
        (folder / name).unlink()
    assert {""} == {file.trainer for file in scan(tmp_path).files}


def test_a_name_of_the_scripts_own_is_ours_by_its_parts(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    trainer.train(4)
    file = judged(trainer.save("last"))
    assert ("accelerate", "open") == (file.trainer, file.resume)


# --- saved in half ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "scheduler.bin"])
def test_a_missing_file_stops_load_state(tmp_path: Path, name: str) -> None:
    folder = run_of(tmp_path) / "step_6"
    (folder / name).unlink()
    file = judged(folder)
    cured = name == "scheduler.bin"  # another folder's is moved there
    assert ("repairable" if cured else "broken", "impossible") == (file.verdict, file.resume)
    assert [name] == [finding.where for finding in file.findings if finding.code == "F114"]
    assert not codes(judged(folder.parent / "epoch_1"))


def test_weights_that_cannot_be_read_are_a_damaged_file_and_nothing_else(tmp_path: Path) -> None:
    folder = run_of(tmp_path) / "epoch_1"
    weights = folder / "model.safetensors"
    os.truncate(weights, 100)
    os.utime(weights, (0, 0))  # else it may still be being written
    assert ["F101"] == codes(judged(folder, **SETTLED))


def test_a_save_that_was_cut_off_after_the_weights(tmp_path: Path) -> None:
    folder = run_of(tmp_path) / "step_6"
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
        (folder / name).unlink()
    assert ("accelerate", "broken") == (judged(folder).trainer, judged(folder).verdict)


def test_missing_random_states_are_a_warning(tmp_path: Path) -> None:
    folder = run_of(tmp_path) / "epoch_1"
    (folder / "random_states_0.pkl").unlink()
    file = judged(folder, **SETTLED)
    assert ("differs", ["F114"]) == (file.resume, codes(file))


def test_a_rank_that_did_not_save(tmp_path: Path) -> None:
    folder = run_of(tmp_path, world=2) / "epoch_1"
    (folder / "random_states_1.pkl").unlink()
    assert [("F114", "random_states_1.pkl")] == [
        (f.code, f.where) for f in judged(folder, **SETTLED).findings if f.severity == "warning"
    ]


def test_registered_objects_that_were_not_saved(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    for name, customs in (("step_2", 2), ("step_4", 1)):
        trainer.train(2)
        trainer.save(name, customs=customs)
    assert ["F114"] == codes(judged(tmp_path / "step_4"))
    assert [] == codes(judged(tmp_path / "step_2"))


@pytest.mark.parametrize("name", ["optimizer_1.bin", "scheduler_1.bin"])
def test_a_file_of_the_second_optimizer_that_was_not_saved(tmp_path: Path, name: str) -> None:
    run = run_of(tmp_path)
    for folder in run.iterdir():
        shutil.copy(folder / name.replace("_1", ""), folder / name)
    assert [] == codes(judged(run / "epoch_1"))
    (run / "epoch_1" / name).unlink()
    assert [("F114", name)] == [(f.code, f.where) for f in judged(run / "epoch_1").findings if f.severity == "error"]


@pytest.mark.parametrize("world", [1, 2])
def test_an_optimizer_of_another_epoch_is_outvoted_by_name_and_schedule(tmp_path: Path, world: int) -> None:
    run = run_of(tmp_path, schedule="lambda", world=world)
    shutil.copy(run / "epoch_0" / "optimizer.bin", run / "epoch_2")
    file = judged(run / "epoch_2", **SETTLED)
    assert ["P403", "R504"] == sorted(codes(file))
    assert "12" in next(finding.message for finding in file.findings if finding.code == "P403")


def test_a_schedule_is_not_written_from_another_rate(tmp_path: Path) -> None:
    folder = run_of(tmp_path) / "step_6"
    (folder / "scheduler.bin").unlink()
    groups = torch.load(folder / "optimizer.bin")["param_groups"]
    change(folder / "optimizer.bin", param_groups=[{**groups[0], "lr": 0.7}])
    assert "broken" == judged(folder).verdict


# FSDP and DeepSpeed keep model and optimizer in folders of their own
SHARDED = {
    "fsdp": ["pytorch_model_fsdp_0/__0_0.distcp", "pytorch_model_fsdp_0/.metadata", "optimizer_0/__0_0.distcp"],
    "deepspeed": [
        "pytorch_model/mp_rank_00_model_states.pt",
        "pytorch_model/zero_pp_rank_0_mp_rank_00_optim_states.pt",
    ],
}


@pytest.mark.parametrize("kind", SHARDED)
def test_parts_of_a_sharded_model_are_not_missing(tmp_path: Path, kind: str) -> None:
    for folder in run_of(tmp_path).iterdir():
        for name in ("model.safetensors", "optimizer.bin"):
            (folder / name).unlink()
        for name in SHARDED[kind]:
            (folder / name).parent.mkdir(exist_ok=True)
            with (folder / name).open("wb") as file:
                torch.save({"w": torch.ones(2)}, file)
    files = scan(tmp_path).files
    assert {"accelerate"} == {file.trainer for file in files}
    told = {f.where for file in files for f in file.findings if f.code == "F114"}
    assert not told & {"model.safetensors", "optimizer.bin", "scheduler.bin"}
    assert "identical" not in {file.resume for file in files}


# --- the folder's name -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("step_6", "step_5", "resumes at 5, and batches are trained twice"),
        ("step_6", "step_7", "resumes at 7, and batches are left out"),
        ("epoch_1", "epoch_3", "resumes at 16, and batches are left out"),
    ],
)
def test_a_renamed_folder(tmp_path: Path, old: str, new: str, words: str) -> None:
    (run_of(tmp_path) / old).rename(tmp_path / new)
    (found,) = [f for f in judged(tmp_path / new, **SETTLED).findings if f.severity == "warning"]
    assert ("P401", f"rename the folder to {old}") == (found.code, found.fix)
    assert words in found.message


def test_steps_that_mixed_precision_skipped_are_no_other_name(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    trainer.train(5)
    folder = trainer.save("step_6", scaler={"scale": 2.0, "growth_factor": 2.0, "backoff_factor": 0.5})
    assert [] == codes(judged(folder, steps_per_epoch=4, **SETTLED))


# --- the schedule ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("last", "code"), [(4, "R501"), (9, "R502")])
def test_a_schedule_of_another_moment(tmp_path: Path, last: int, code: str) -> None:
    folder = run_of(tmp_path) / "step_6"
    change(folder / "scheduler.bin", last_epoch=last, _step_count=last + 1)
    file = judged(folder, **SETTLED)
    assert (code, "repairable") == (codes(file)[0], file.verdict)


def test_the_momentum_that_a_one_cycle_moves_is_synced_with_its_rate(tmp_path: Path) -> None:
    """RMSprop's, which is no beta of Adam's."""
    trainer = Trainer(tmp_path)
    trainer.optimizer = torch.optim.RMSprop(trainer.model.parameters(), lr=0.1, momentum=0.9)
    trainer.scheduler = SCHEDULES["onecycle"](trainer.optimizer)
    trainer.train(5)
    early = copy.deepcopy(trainer.optimizer.state_dict()["param_groups"])
    schedule = trainer.scheduler.state_dict()
    trainer.train(1)
    folder = trainer.save("step_6")
    right = torch.load(folder / "optimizer.bin")["param_groups"][0]
    change(folder / "optimizer.bin", param_groups=early)
    torch.save(schedule, folder / "scheduler.bin")
    (result,) = migrate(folder, fixes=["sync-scheduler"], facts=facts(**SETTLED))
    assert "migrated" == result.status
    now = torch.load(folder / "optimizer.bin")["param_groups"][0]
    assert (right["lr"], right["momentum"]) == (now["lr"], now["momentum"]) != (early[0]["lr"], early[0]["momentum"])


def test_a_schedule_that_moves_by_epochs_is_no_fault(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, schedule="step")
    scheduler, trainer.scheduler = trainer.scheduler, None
    for epoch in range(3):
        trainer.train(4)
        scheduler.step()  # type: ignore[union-attr]
        trainer.scheduler = scheduler
        trainer.save(f"epoch_{epoch}")
        trainer.scheduler = None
    assert [] == [f for f in scan(tmp_path, facts=facts(**SETTLED)).findings if f.severity != "info"]


def test_a_rate_that_is_not_the_schedules(tmp_path: Path) -> None:
    folder = run_of(tmp_path) / "step_6"
    groups = torch.load(folder / "optimizer.bin")["param_groups"]
    change(folder / "optimizer.bin", param_groups=[{**groups[0], "lr": 0.7}])
    assert ["R504"] == codes(judged(folder, **SETTLED))


# --- the order of the data -------------------------------------------------------------------------------------------


def test_a_random_state_from_inside_an_epoch(tmp_path: Path) -> None:
    run = run_of(tmp_path, inside=(2, 6, 8))
    files = {file.checkpoint.path.name: file for file in scan(run, facts=facts(**SHUFFLED)).files}
    assert {"step_2": "ok", "step_6": "repairable", "step_8": "repairable"} == {
        name: file.verdict for name, file in files.items() if "R510" in codes(file)
    }
    (run / "epoch_0").rename(tmp_path.parent / "elsewhere")
    assert "ok" == judged(run / "step_6", **SHUFFLED).verdict
    assert [] == codes(judged(run / "step_6", **SETTLED))


def test_several_processes_that_shuffle_begin_with_the_order_of_epoch_0(tmp_path: Path) -> None:
    """Measured: the loader's generator is in no file. In epoch 0 its seed deals the same order again."""
    run = run_of(tmp_path, world=2, inside=(2, 6))
    files = {file.checkpoint.path.name: file for file in scan(run, facts=facts(**SHUFFLED)).files}
    assert {"step_2": "identical", "step_6": "differs", "epoch_0": "differs", "epoch_1": "differs"} == {
        name: file.resume for name, file in files.items() if name != "epoch_2"
    }
    assert {"ok"} == {file.verdict for file in files.values()}
    assert {"--shuffle or --no-shuffle"} == {p.settle for p in judged(run / "epoch_1").not_checked if "order" in p.what}


def test_scripts_that_begin_the_epoch_again(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    for stop in (4, 6):
        trainer.train(stop - trainer.batches)
        trainer.save(f"checkpoint-{stop}")
    assert ("differs", ["P410"]) == (judged(tmp_path / "checkpoint-6").resume, codes(judged(tmp_path / "checkpoint-6")))
    assert [] == codes(judged(tmp_path / "checkpoint-4", steps_per_epoch=4))
    assert tmp_path / "checkpoint-4" == latest(tmp_path)[0]


def test_a_save_within_an_accumulation(tmp_path: Path) -> None:
    run = run_of(tmp_path, each=3, inside=(6,))
    (found,) = [f for f in judged(run / "step_6", **SETTLED).findings if f.severity == "warning"]
    assert "the gradients of 2 batches" in found.message


# --- commands --------------------------------------------------------------------------------------------------------


def test_check_tells_where_the_script_goes_on(tmp_path: Path) -> None:
    def start(name: str, **given: Any) -> tuple[int | None, int | None]:
        plan = check(tmp_path / name, facts=facts(**given)).files[0].plan
        assert plan is not None
        return plan.start_epoch, plan.skip_batches

    run_of(tmp_path)
    assert [(2, 0), (1, 2)] == [start("epoch_1"), start("step_6")]
    for name in ("epoch_0", "epoch_1", "epoch_2"):
        shutil.rmtree(tmp_path / name)
    assert [(None, None), (1, 2)] == [start("step_6"), start("step_6", steps_per_epoch=4)]


def test_latest_goes_by_adams_steps_and_passes_over_half_a_folder(tmp_path: Path) -> None:
    run_of(tmp_path)
    assert tmp_path / "epoch_2" == latest(tmp_path)[0]
    (tmp_path / "epoch_2/optimizer.bin").unlink()
    assert tmp_path / "epoch_1" == latest(tmp_path)[0]


def test_a_run_with_automatic_names_is_resumed_from_its_last(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    for number in range(11):
        trainer.train(1)
        trainer.save(f"checkpoint_{number}")
    assert "checkpoint_10" == check(tmp_path).files[0].checkpoint.path.name


def test_prune_keeps_the_furthest(tmp_path: Path) -> None:
    prune(run_of(tmp_path), 2)
    assert {"epoch_1", "epoch_2"} == {path.name for path in tmp_path.iterdir() if path.is_dir() and path.name[0] != "."}


@pytest.mark.parametrize("spoil", [lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:-40])])
def test_a_damaged_part_is_said(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folder = run_of(tmp_path) / "step_6"
    spoil(folder / "optimizer.bin")
    assert "broken" == judged(folder).verdict


RANDOM = {"random_state": "x", "numpy_random_seed": ("MT19937", None, 0), "torch_manual_seed": 3}


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("key", RANDOM)
def test_a_random_state_that_load_state_passes_over_is_told(tmp_path: Path, key: str, is_there: bool) -> None:
    folder = run_of(tmp_path, world=2) / "epoch_1"
    path = folder / "random_states_1.pkl"
    states = torch.load(path, weights_only=False)
    del states[key]
    torch.save({**states, **({key: RANDOM[key]} if is_there else {})}, path)
    file = judged(folder, **SETTLED)
    assert (["O707"], "differs") == (codes(file), file.resume)
    assert f"random_states_1.pkl.{key}" in {finding.where for finding in file.findings}


def test_base_rates_with_which_the_schedule_stops_are_told(tmp_path: Path) -> None:
    folder = run_of(tmp_path, schedule="lambda") / "epoch_1"
    for wrong in ([float("nan")], [], None):
        change(folder / "scheduler.bin", base_lrs=wrong)
        assert judged(folder, **SETTLED).resume == "impossible"
