"""The rules that are Accelerate's alone: folders saved in half, data trained twice, random states."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from ckpt_doctor import latest, scan
from tests.trainers.accelerate.runs import SETTLED, Trainer, change, codes, judged, run_of


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "scheduler.bin"])
def test_a_missing_file_stops_load_state(tmp_path: Path, name: str) -> None:
    folder = run_of(tmp_path) / "step_6"
    (folder / name).unlink()
    file = judged(folder)
    cured = name == "scheduler.bin"  # another folder's is moved there
    assert ("repairable" if cured else "broken", "impossible") == (file.verdict, file.resume)
    assert [name] == [finding.where for finding in file.findings if finding.code == "F114"]
    assert not codes(judged(folder.parent / "epoch_1"))


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


def test_what_a_scripts_own_hook_saves_is_read_and_missed(tmp_path: Path) -> None:
    """As the scripts of diffusers do."""
    run, below = run_of(tmp_path), Path("unet/diffusion_pytorch_model.safetensors")
    for folder in run.iterdir():
        (folder / "unet").mkdir()
        (folder / "model.safetensors").rename(folder / below)
    assert [] == codes(judged(run / "epoch_1"))
    (run / "epoch_1" / below).write_text("<!DOCTYPE html><html></html>")
    assert ("impossible", ["F105"]) == (judged(run / "epoch_1").resume, codes(judged(run / "epoch_1")))
    (run / "epoch_1" / below).unlink()
    assert [("F114", str(below))] == [(f.code, f.where) for f in judged(run / "epoch_1").findings if f.where]


def test_a_schedule_of_another_epoch_beside_an_optimizer_that_counts_no_steps(tmp_path: Path) -> None:
    run = run_of(tmp_path, inside=())
    for folder in run.iterdir():
        saved = torch.load(folder / "optimizer.bin")
        change(folder / "optimizer.bin", state={key: {"momentum_buffer": torch.ones(1)} for key in saved["state"]})
    assert "P409" not in codes(judged(run / "epoch_1"))
    for name in ("optimizer.bin", "scheduler.bin"):
        shutil.copy(run / "epoch_0" / name, run / "epoch_1" / name)
    assert "P409" in codes(judged(run / "epoch_1"))


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


def test_scripts_that_begin_the_epoch_again(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    for stop in (4, 6):
        trainer.train(stop - trainer.batches)
        trainer.save(f"checkpoint-{stop}")
    assert ("differs", ["P410"]) == (judged(tmp_path / "checkpoint-6").resume, codes(judged(tmp_path / "checkpoint-6")))
    assert [] == codes(judged(tmp_path / "checkpoint-4", steps_per_epoch=4))
    assert tmp_path / "checkpoint-4" == latest(tmp_path)[0]


def test_an_end_of_an_epoch_whose_steps_take_several_batches_is_not_begun_again(tmp_path: Path) -> None:
    """`accumulate` counts the batches of an epoch, from 0 again at its end; a loop without it counts none."""
    trainer = Trainer(tmp_path, each=2)
    trainer.train(4)
    file = judged(trainer.save("checkpoint-2"), steps_per_epoch=4, **SETTLED)
    assert ([], "open") == (codes(file), file.resume), file.plan


def test_a_save_within_an_accumulation(tmp_path: Path) -> None:
    run = run_of(tmp_path, each=3, inside=(6,))
    (found,) = [f for f in judged(run / "step_6", **SETTLED).findings if f.severity == "warning"]
    assert "the gradients of 2 batches" in found.message


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


def test_a_folder_before_the_first_optimizer_step_lacks_gradients_and_no_moments(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, each=4)
    trainer.train(2)
    folder = trainer.save("step_2")
    assert ["P410"] == codes(judged(folder, steps_per_epoch=4, **SETTLED))
    change(folder / "scheduler.bin", last_epoch=3, _step_count=4)
    assert "O705" in codes(judged(folder, steps_per_epoch=4, **SETTLED)), "the schedule shows that it had stepped"


def test_an_optimizer_that_keeps_no_state_has_stepped(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, sgd=True)
    trainer.train(2)
    assert [] == codes(judged(trainer.save("step_2"), steps_per_epoch=4, **SETTLED))


def test_weights_of_another_folder_are_told(tmp_path: Path) -> None:
    """The optimizer counts the steps, and the weights do not."""
    run = run_of(tmp_path)
    shutil.copyfile(run / "epoch_0" / "model.safetensors", run / "epoch_1" / "model.safetensors")
    assert ["P409"] == codes(judged(run / "epoch_1", **SETTLED))
    assert [] == codes(judged(run / "epoch_2", **SETTLED))


def test_gradients_between_two_optimizer_steps_may_be_lost(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, each=2)
    for batches in (1, 2, 1):
        trainer.train(batches)
        trainer.save(f"step_{trainer.batches}")
    trainer.save("epoch_0")
    found = {name: judged(tmp_path / name, **SETTLED) for name in ("step_1", "step_3", "epoch_0")}
    assert {"step_1": ["P410"], "step_3": [], "epoch_0": []} == {name: codes(file) for name, file in found.items()}
    assert {"step_1": "differs", "step_3": "open", "epoch_0": "identical"} == {n: f.resume for n, f in found.items()}


@pytest.mark.parametrize("schedule", ["", "chained"])
def test_an_emptied_optimizer_whose_schedule_shows_no_steps(tmp_path: Path, schedule: str) -> None:
    run = run_of(tmp_path, schedule=schedule)
    change(run / "epoch_1/optimizer.bin", state={})
    found = {name: codes(judged(run / name, **SETTLED)) for name in ("epoch_1", "epoch_2")}
    assert {"epoch_1": ["O705"], "epoch_2": []} == found


def test_a_counter_that_begins_anew_in_each_epoch_is_of_no_other_moment(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    for stop in (1, 4, 5, 10, 12):
        trainer.train(stop - trainer.batches)
        torch.save({"batch": stop % 4}, trainer.save(f"step_{stop}") / "custom_checkpoint_0.pkl")
    found = {folder.name: codes(judged(folder, steps_per_epoch=4, **SETTLED)) for folder in tmp_path.iterdir()}
    assert set() == {code for codes in found.values() for code in codes}


@pytest.mark.parametrize(("counted", "told"), [(6, []), (7, []), (5, []), (2, ["P402"])])
def test_a_scripts_own_count_that_lacks_steps_of_the_optimizer(tmp_path: Path, counted: int, told: list[str]) -> None:
    """It is written before, or after, the last step was counted."""
    folder = run_of(tmp_path) / "step_6"
    (folder / "train_state.json").write_text(f'{{"current_epoch": 1, "current_step": {counted}}}')
    assert told == codes(judged(folder, **SETTLED))
