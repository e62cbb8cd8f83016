"""A loop that saves each part to a file of its own: the folder of one moment is one checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt_doctor import facts, latest, migrate, scan
from tests.trainers.plain.plain_runs import STEPS, Loop, same, straight

GIVEN = {"resume_epoch": "label+1", "shuffle": False}


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
def test_each_folder_is_one_checkpoint_whose_name_has_the_label(tmp_path, name, suffix, optimizer):
    folders = [parts(tmp_path / name.format(n), suffix=suffix, optimizer=optimizer, epochs=n) for n in (1, 2, 3)]
    report = scan([tmp_path])
    assert folders == [file.checkpoint.path for file in report.files]
    assert {("plain", "open", "training")} == {(f.trainer, f.resume, f.checkpoint.layout) for f in report.files}
    assert {"P412"} == {found.code for found in report.findings}
    assert folders[-1] == latest(tmp_path)[0]


def test_its_parts_are_compared(tmp_path):
    """A rate that the schedule did not set."""
    folder = parts(tmp_path / "epoch_3", epochs=3)
    optimizer = torch.load(folder / "optimizer.pt")
    optimizer["param_groups"][0]["lr"] = 0.123
    torch.save(optimizer, folder / "optimizer.pt")
    assert ["R504"] == [found.code for found in scan([tmp_path]).findings if found.severity != "info"]


@pytest.mark.parametrize("where", ["weights", "epoch_1"])
def test_files_that_need_not_go_together_stay_files(tmp_path, where):
    """A folder without a moment in its name, or with another model's file in it."""
    folder = parts(tmp_path / where, **({} if where == "weights" else {"resnet_best": {"w": torch.ones(2)}}))
    paths = {file.checkpoint.path for file in scan([tmp_path]).files}
    assert len(paths) >= 3 and folder not in paths


def labelled(folder: Path, *, late: bool) -> Path:
    """A run of such folders, each with its epoch in a file; saved before or after the scheduler's step."""
    loop = Loop("StepLR")
    for epoch in range(3):
        loop.train()
        if not late:
            loop.step()
        moment = folder / f"epoch_{epoch}"
        moment.mkdir(parents=True)
        for name in ("model", "optimizer", "scheduler"):
            torch.save(getattr(loop, name).state_dict(), moment / f"{name}.pt")
        torch.save({"epoch": epoch}, moment / "state.pt")
        if late:
            loop.step()
    return folder


def resumed(folder: Path) -> list[torch.Tensor]:
    """The next epoch after a resume from a folder."""
    loop = Loop("StepLR")
    for name in ("model", "optimizer", "scheduler"):
        getattr(loop, name).load_state_dict(torch.load(folder / f"{name}.pt"))
    loop.train()
    loop.step()
    return loop.state


def test_a_folder_with_its_epoch_is_judged_as_a_file_is(tmp_path):
    report = scan([labelled(tmp_path, late=False)], facts=facts(**GIVEN))
    assert STEPS == report.runs[0].run.facts.steps_per_epoch.value
    assert [("plain", "identical")] * 3 == [(file.trainer, file.resume) for file in report.files]
    (alone,) = scan([tmp_path / "epoch_1"], facts=facts(**GIVEN)).files
    assert "identical" == alone.resume


def test_a_schedule_that_lags_in_a_folder_is_repaired(tmp_path):
    run = labelled(tmp_path, late=True)
    assert {"R501"} == {found.code for found in scan([run], facts=facts(**GIVEN)).findings}
    assert not same(straight("StepLR", epochs=3), resumed(run / "epoch_1"))
    migrate([run], fixes=["sync-scheduler"], facts=facts(**GIVEN))
    assert same(straight("StepLR", epochs=3), resumed(run / "epoch_1"))
    assert {"identical"} == {file.resume for file in scan([run], facts=facts(**GIVEN)).files}


def test_the_counts_of_speechbrain_are_no_broken_files(tmp_path):
    """Its Checkpointer writes some as text under a checkpoint's suffix."""
    loop = Loop()
    loop.train()
    moment = tmp_path / "save" / "CKPT+2026-01-01+00-00-00+00"
    moment.mkdir(parents=True)
    torch.save(loop.model.state_dict(), moment / "model.ckpt")
    torch.save(loop.optimizer.state_dict(), moment / "optimizer.ckpt")
    (moment / "CKPT.yaml").write_text("end-of-epoch: true\nunixtime: 1.0\n")
    (moment / "brain.ckpt").write_text("optimizer_step: 4\nstep: 4\n")
    (moment / "counter.ckpt").write_text("1")
    report = scan([tmp_path])
    assert ([moment], []) == ([file.checkpoint.path for file in report.files], report.findings)
    (moment / "optimizer.ckpt").write_bytes((moment / "optimizer.ckpt").read_bytes()[:-40])
    assert {"F101"} == {found.code for found in scan([tmp_path]).findings}
