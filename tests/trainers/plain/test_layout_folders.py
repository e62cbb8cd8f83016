"""A loop that saves each part to a file of its own: the folder of one moment is one checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt_doctor import latest, scan
from tests.trainers.plain.plain_runs import Loop


def parts(folder: Path, *, suffix: str = "pt", optimizer: str = "optimizer", epochs: int = 1, **more: object) -> Path:
    """What such a loop leaves after some epochs."""
    loop = Loop("StepLR")
    for _ in range(epochs):
        loop.train()
        loop.step()
    saved = loop.saved(epochs)
    folder.mkdir(parents=True)
    torch.save(saved["model_state_dict"], folder / f"model.{suffix}")
    torch.save(saved["optimizer_state_dict"], folder / f"{optimizer}.{suffix}")
    torch.save(saved["scheduler_state_dict"], folder / f"scheduler.{suffix}")
    for name, value in more.items():
        torch.save(value, folder / f"{name}.{suffix}")
    return folder


@pytest.mark.parametrize("name", ["epoch_{}", "step-{}00", "checkpoint-{}", "{}"])
@pytest.mark.parametrize(("suffix", "optimizer"), [("pt", "optimizer"), ("pth", "optim")])
def test_each_folder_is_one_checkpoint_that_nobody_claims(tmp_path, name, suffix, optimizer):
    folders = [parts(tmp_path / name.format(n), suffix=suffix, optimizer=optimizer, epochs=n) for n in (1, 2, 3)]
    report = scan([tmp_path])
    assert folders == [file.checkpoint.path for file in report.files]
    assert {("", "not judged", "training")} == {(f.trainer, f.resume, f.checkpoint.layout) for f in report.files}
    assert [] == report.findings
    assert folders[-1] == latest(tmp_path)[0]


def test_its_parts_are_compared(tmp_path):
    """A rate that the schedule did not set."""
    folder = parts(tmp_path / "epoch_3", epochs=3)
    optimizer = torch.load(folder / "optimizer.pt")
    optimizer["param_groups"][0]["lr"] = 0.123
    torch.save(optimizer, folder / "optimizer.pt")
    assert ["R504"] == [found.code for found in scan([tmp_path]).findings]


@pytest.mark.parametrize("where", ["weights", "epoch_1"])
def test_files_that_need_not_go_together_stay_files(tmp_path, where):
    """A folder without a moment in its name, or with another model's file in it."""
    folder = parts(tmp_path / where, **({} if where == "weights" else {"resnet_best": {"w": torch.ones(2)}}))
    paths = {file.checkpoint.path for file in scan([tmp_path]).files}
    assert len(paths) >= 3 and folder not in paths
