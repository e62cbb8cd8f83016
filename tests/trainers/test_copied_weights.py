"""Weights of another step in a checkpoint's folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ckpt_doctor import audit
from tests.trainers.accelerate.runs import run_of
from tests.trainers.hf_trainer.runs import Writer

MODEL = "model.safetensors"


def said(run: Path) -> dict[str, str]:
    """Name of a checkpoint -> what is said of its weights."""
    found = ((f, finding) for f in audit.scan([run]).files for finding in f.findings if finding.where == "the model")
    return {file.checkpoint.path.name: finding.message for file, finding in found}


def age(folder: Path, seconds: int, *names: str) -> None:
    """Set the times of files back."""
    for path in folder.iterdir():
        if path.name in names or not names:
            at = path.stat().st_mtime - seconds
            os.utime(path, (at, at))


@pytest.fixture(name="run")
def four(tmp_path: Path) -> Path:
    return Writer(tmp_path / "out").write(10, 20, 30, 40)


def test_weights_that_move_are_their_own(run):
    assert {} == said(run)


def test_the_weights_of_another_step_are_told_where_they_were_written_later(run):
    """The checkpoint that they came from keeps its own."""
    for folder in run.iterdir():
        age(folder, 100)
    shutil.copyfile(run / "checkpoint-20" / MODEL, run / "checkpoint-40" / MODEL)
    found = said(run)
    assert ["checkpoint-40"] == list(found)
    assert "checkpoint-20" in found["checkpoint-40"]


def test_both_are_told_where_no_time_shows_which(run):
    shutil.copyfile(run / "checkpoint-20" / MODEL, run / "checkpoint-30" / MODEL)
    assert {"checkpoint-20", "checkpoint-30"} == set(said(run))


def test_saves_that_are_closer_than_any_that_differ_show_nothing(tmp_path):
    """At the end of training the steps may be too small, and a model may be frozen."""
    run = Writer(tmp_path / "out").write(10, 20, 21)
    shutil.copyfile(run / "checkpoint-20" / MODEL, run / "checkpoint-21" / MODEL)
    assert {} == said(run)
    for step in (20, 21):
        shutil.copyfile(run / "checkpoint-10" / MODEL, run / f"checkpoint-{step}" / MODEL)
    assert {} == said(run)


def test_weights_of_fewer_bits_may_stay(run):
    for folder in run.iterdir():
        save_file({name: w.to(torch.bfloat16) for name, w in load_file(folder / MODEL).items()}, folder / MODEL)
    shutil.copyfile(run / "checkpoint-20" / MODEL, run / "checkpoint-30" / MODEL)
    assert {} == said(run)


@pytest.mark.parametrize(
    ("copies", "told"), [({2: 1}, {"epoch_1", "epoch_2"}), ({2: 1, 4: 3}, set())], ids=["copied", "rests"]
)
def test_a_second_model_may_rest(tmp_path, copies, told):
    """A target network is the same for some steps; a lone pair among others that move is copied."""
    run = run_of(tmp_path, ends=tuple(range(4, 25, 4)), inside=())
    for folder in run.iterdir():
        shutil.copyfile(folder / MODEL, folder / "model_1.safetensors")
    for epoch, other in copies.items():
        shutil.copyfile(run / f"epoch_{other}" / "model_1.safetensors", run / f"epoch_{epoch}" / "model_1.safetensors")
    assert told == set(said(run))
