"""A folder's name, its schedule and its optimizer: which of them is of another moment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.trainers.accelerate.runs import SETTLED, Trainer, codes, judged

EACH_BATCH = {"steps_per_epoch": 4, **SETTLED}


def saved(run: Path, names: str, *stops: int, each: int = 1) -> Path:
    """Folders after so many batches; `{}` in their names is that number."""
    trainer = Trainer(run, each=each)
    for stop in stops:
        trainer.train(stop - trainer.batches, counted=each > 1)
        trainer.save(names.format(stop))
    return run


@pytest.mark.parametrize("each", [1, 2])
def test_an_optimizer_of_another_step_is_outvoted_by_name_and_schedule(tmp_path: Path, each: int) -> None:
    """So the schedule is not moved to the step of an optimizer that is itself wrong."""
    folder = saved(tmp_path, "step_{}", 2, 4, 6, 8, 10, each=each) / "step_6"
    shutil.copy(tmp_path / "step_2/optimizer.bin", folder)
    assert "P403" in codes(judged(folder, **EACH_BATCH)) and "R502" not in codes(judged(folder, **EACH_BATCH))


@pytest.mark.parametrize("each", [1, 2])
def test_a_folder_that_holds_another_one_has_its_name(tmp_path: Path, each: int) -> None:
    folder = saved(tmp_path, "step_{}", 2, 4, 6, 8, 10, each=each) / "step_8"
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "step_2", folder)
    (found,) = [f for f in judged(folder, **EACH_BATCH).findings if f.code == "P401"]
    assert "rename the folder to step_2" == found.fix


def test_training_may_end_within_its_last_epoch(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    for number, batches in enumerate((4, 4, 4, 2)):
        trainer.train(batches, counted=False)
        trainer.save(f"epoch_{number}")
    assert [] == codes(judged(tmp_path / "epoch_3", **SETTLED))
    (tmp_path / "epoch_3").rename(tmp_path / "epoch_4")
    shutil.copytree(tmp_path / "epoch_1", tmp_path / "epoch_3")
    assert "P401" in codes(judged(tmp_path / "epoch_3", **SETTLED))


def test_of_numbered_saves_the_part_that_another_one_has_is_the_copy(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    for number in range(3):
        trainer.train(4)
        trainer.save(f"checkpoint_{number}")
    shutil.copy(tmp_path / "checkpoint_0/optimizer.bin", tmp_path / "checkpoint_1")
    assert "P403" in codes(judged(tmp_path / "checkpoint_1"))
    assert [] == codes(judged(tmp_path / "checkpoint_2"))


def test_of_folders_without_a_step_nothing_is_due(tmp_path: Path) -> None:
    run = saved(tmp_path, "step_{}", 2, 4, 6)
    for name in ("step_4", "step_6"):
        state = torch.load(run / name / "optimizer.bin")
        for entry in state["state"].values():
            entry["step"] *= 0
        torch.save(state, run / name / "optimizer.bin")
    assert "P401" not in codes(judged(run / "step_2", **EACH_BATCH))
