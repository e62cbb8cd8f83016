"""Which files are Lightning's, and where in them each part of the training state is."""

from __future__ import annotations

import os

import pytest
import torch

from ckpt_doctor.trainers.lightning import layout
from tests.trainers.lightning.runs import AUTOMATIC, change, judged, said, write
from tests.trainers.lightning.values import checkpoint, counted


@pytest.mark.parametrize(
    "root",
    [
        {"state_dict": {"w": torch.ones(2)}, "epoch": 1, "optimizer_states": []},
        {"pytorch-lightning_version": "2.0", "model": {"w": torch.ones(2)}},
        {"pytorch-lightning_version": 2, "state_dict": {"w": torch.ones(2)}},
    ],
)
def test_only_the_version_beside_a_state_dict_is_lightnings(tmp_path, root):
    torch.save(root, tmp_path / "last.ckpt")
    assert "" == judged(tmp_path / "last.ckpt").trainer


@pytest.mark.parametrize("version", ["1.5.10", "1.7.7", "1.9.5"])
def test_files_of_lightning_1_are_read_without_an_alarm(tmp_path, version):
    path = write(tmp_path)[-1]
    value = torch.load(path, weights_only=False)
    fit = value["loops"]["fit_loop"]
    fit["epoch_loop.batch_loop.optimizer_loop.optim_progress"] = fit.pop(AUTOMATIC)
    fit["epoch_loop.batch_loop.manual_loop.optim_step_progress"] = fit.pop(
        "epoch_loop.manual_optimization.optim_step_progress"
    )
    if version.startswith("1.5"):
        del fit["epoch_loop.state_dict"], fit["epoch_loop.scheduler_progress"]
        value |= {"epoch": 3, "global_step": 31}
    change(path, loops=value["loops"], epoch=value["epoch"], **{"pytorch-lightning_version": version})
    report = judged(path)
    assert {} == said(report) and "open" == report.resume and "lightning" == report.trainer
    assert any(version in one.why for one in report.not_checked)


def test_a_model_whose_only_attribute_is_called_module(tmp_path):
    path = write(tmp_path, 1)[0]
    weights = torch.load(path, weights_only=False)["state_dict"]
    change(path, state_dict={f"module.{name}": value for name, value in weights.items()})
    assert {} == said(judged(path))


@pytest.mark.parametrize(
    ("told", "version", "measured"),
    [("2.6.6", (2, 6, 6), True), ("2.0.0rc1", (2, 0, 0), True), ("1.9.5", (1, 9, 5), False), ("dev", (), False)],
)
def test_the_version_says_whether_this_form_was_measured(told, version, measured):
    held = checkpoint("a.ckpt", {"pytorch-lightning_version": told})
    assert (version, measured) == (layout.version_of(held), layout.is_measured(held))


@pytest.mark.parametrize(
    ("name", "step", "right"),
    [
        ("epoch=1-step=20.ckpt", 20, "epoch=1-step=30.ckpt"),
        ("step=20-v1.ckpt", 20, "step=30-v1.ckpt"),
        ("footstep=20.ckpt", None, "footstep=20.ckpt"),
        ("last.ckpt", None, "last.ckpt"),
    ],
)
def test_the_step_in_a_default_name_is_compared_with_the_loops(name, step, right):
    held = counted(30, epoch=3, name=name)
    assert (step, right, 30) == (held.named_step, held.right_name, held.state.global_step)


def test_each_slot_is_where_this_file_has_it():
    """Of several optimizers the first; the labels at the top where there are no loops."""
    held = {"optimizer_states": [{}, {}], "lr_schedulers": [], "native_amp_scaling_state": {}, "global_step": 5}
    places = layout.places_of(checkpoint("a.ckpt", held))
    assert {
        "optimizer": ("optimizer_states", 0),
        "scaler": ("native_amp_scaling_state",),
        "step": ("global_step",),
    } == {slot: places[slot] for slot in ("optimizer", "scaler", "step")}
    assert "scheduler" not in places
    assert (2, 0) == (layout.optimizers(checkpoint("a", held)), layout.schedulers(checkpoint("a", held)))
    assert "fit_loop" in counted(30, epoch=3).places["step"]


def test_siblings_are_its_files_the_newest_where_there_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "MOST_SIBLINGS", 2)
    for number, name in enumerate(("c.ckpt", "a.ckpt", "b.ckpt", "other.pt")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (number, number))
    assert [tmp_path / "a.ckpt", tmp_path / "b.ckpt"] == layout.siblings(tmp_path)
    assert [] == layout.siblings(tmp_path / "gone")
