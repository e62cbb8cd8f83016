"""What a run remembers of its best model is kept, rebuilt where it was lost, and moved along."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch

from ckpt_doctor import repair
from ckpt_doctor.trainers.lightning import memory
from ckpt_doctor.trainers.lightning.callbacks import savers
from tests.trainers.lightning.runs import (
    BATCH,
    BATCHES,
    LOSSES,
    MONITOR,
    STOPPER,
    change,
    cured,
    judged,
    put,
    said,
    write,
)
from tests.trainers.lightning.values import checkpoint


@pytest.mark.parametrize("others", [0, 1])
def test_a_run_that_was_moved_is_a_warning_where_its_files_lie_together(tmp_path, others):
    paths = write(tmp_path / "old")
    new = tmp_path / "new"
    new.mkdir()
    for path in paths[-1 - others :]:
        shutil.copy(path, new)
    path = new / paths[-1].name
    found = next(finding for finding in judged(path).findings if finding.code == "E610")
    assert ("warning" if others else "info") == found.severity and str(tmp_path / "old") in found.message
    if others:
        assert "identical" == cured(path).resume
        held = torch.load(path, weights_only=False)["callbacks"][MONITOR]
        assert str(new) == held["dirpath"] and str(new / paths[1].name) == held["best_model_path"]
        assert {str(new / p.name): loss for p, loss in zip(paths, LOSSES, strict=False)} == held["best_k_models"]


@pytest.mark.parametrize("saved, away", [("run/version_0", False), ("../run/version_0/", False), ("run/other", True)])
def test_a_relative_folder_is_not_taken_for_a_move(tmp_path, saved, away):
    paths = write(tmp_path / "run" / "version_0")
    held = torch.load(paths[-1], weights_only=False)["callbacks"][MONITOR]
    put(paths[-1], ("callbacks", MONITOR), {**held, "dirpath": saved})
    assert away == ("E610" in {finding.code for finding in judged(paths[-1]).findings})


def test_a_second_callback_that_saves_elsewhere_is_no_sign_of_a_move(tmp_path):
    path = write(tmp_path)[-1]
    other = copy.deepcopy(torch.load(path, weights_only=False)["callbacks"][MONITOR]) | {"dirpath": "/elsewhere"}
    put(path, ("callbacks", MONITOR.replace("val_loss", "accuracy")), other)
    assert {} == said(judged(path))


def test_the_default_loggers_folder_is_named_at_the_gate(tmp_path):
    path = write(tmp_path / "lightning_logs" / "version_0" / "checkpoints")[-1]
    report = judged(path)
    assert {} == said(report)
    assert any("dirpath" in one.settle for one in report.not_checked)


@pytest.mark.parametrize("form", [{}, ...])
def test_lost_callbacks_come_back_from_a_later_file(tmp_path, form):
    path = write(tmp_path, 4)[2]
    before = torch.load(path, weights_only=False)["callbacks"]
    change(path, callbacks=form)
    report = judged(path)
    assert {"E611"} == said(report).keys() and "add-best-score" == said(report)["E611"].migration
    assert "identical" == cured(path).resume
    assert before == torch.load(path, weights_only=False)["callbacks"]


def test_lost_callbacks_are_not_made_up(tmp_path):
    """The newest file has none later; with `save_top_k=1` a later file does not keep every score."""
    paths = write(tmp_path)
    change(paths[-1], callbacks={})
    (result,) = repair.migrate([paths[-1]])
    assert "ok" == judged(paths[-1]).verdict and result.status in ("unchanged", "refused")


def test_callbacks_that_joined_later_are_not_lost(tmp_path):
    first, *_ = write(tmp_path)
    held = torch.load(first, weights_only=False)["callbacks"]
    change(first, callbacks={MONITOR: held[MONITOR]})
    assert {} == said(judged(first))


@pytest.mark.parametrize("waited", [5, 6])
def test_an_exhausted_patience_ends_the_training(tmp_path, waited):
    path = write(tmp_path)[-1]
    put(path, ("callbacks", STOPPER, "wait_count"), waited)
    assert "E604" in said(judged(path))


@pytest.mark.parametrize(
    ("folder", "dirpath", "within"),
    [
        ("/a/run", "/a/run", True),
        ("/a/run/val", "/a/run", True),
        ("/a/run2", "/a/run", False),
        ("/a/logs/version_0/checkpoints", "logs/version_0/checkpoints", True),
        ("/a/logs/version_0/checkpoints/val", "../logs/version_0/checkpoints/", True),
        ("/a/logs/version_1/checkpoints", "logs/version_0/checkpoints", False),
    ],
)
def test_a_folder_is_the_savers_where_it_is_that_or_below_it(folder, dirpath, within):
    """Of a relative one no file names the beginning."""
    assert within is memory.is_within(folder, dirpath)


def test_paths_move_with_their_folder_and_keep_what_lies_below_it():
    """Also those of another system; a path that lies elsewhere goes by its name."""
    held = {
        "dirpath": "C:\\old",
        "best_model_path": "C:\\old\\val\\a.ckpt",
        "best_k_models": {"C:\\old\\a.ckpt": 0.5, "D:\\else\\b.ckpt": 0.6},
        "last_model_path": "",
    }
    file = checkpoint("a.ckpt", {"callbacks": {"ModelCheckpoint": held}})
    (saver,) = savers(file)
    assert {
        "dirpath": "/run",
        "best_model_path": "/run/val/a.ckpt",
        "best_k_models": {"/run/a.ckpt": 0.5, "/run/b.ckpt": 0.6},
    } == dict(memory.remapped(file, saver))


@pytest.mark.parametrize("callbacks", [(MONITOR, STOPPER), (STOPPER,), (MONITOR,), ()])
def test_the_checks_of_an_epoch_come_after_a_save_at_its_last_batch(tmp_path, callbacks):
    path = write(tmp_path)[1]
    held = torch.load(path, weights_only=False)["callbacks"]
    change(path, callbacks={key: held[key] for key in callbacks})
    assert "P405" not in said(judged(path))
    put(path, (*BATCH, "total", "completed"), 2 * BATCHES - 1)
    assert bool(callbacks) == ("P405" in said(judged(path)))
    if callbacks == (MONITOR,):
        change(path, callbacks={MONITOR.replace("'every_n_epochs': 1", "'every_n_epochs': 0"): held[MONITOR]})
        assert "P405" not in said(judged(path)), "it compares where it saves"


def test_of_several_savers_at_one_step_the_last_file_has_all_scores(tmp_path):
    paths = write(tmp_path, 4)
    mae = MONITOR.replace("val_loss", "val_mae")
    for number, path in enumerate(paths, 1):
        value = torch.load(path, weights_only=False)
        state = {**value["callbacks"][MONITOR], "monitor": "val_mae", "best_k_models": {}, "best_model_path": ""}
        change(path, callbacks={**value["callbacks"], mae: state})
        last = path.with_name(f"mae-{number}.ckpt")
        shutil.copy(path, last)
        put(last, ["callbacks", mae, "best_k_models"], {str(last): torch.tensor(0.5)})
    report = judged(paths[2], shuffle=False)
    assert {"P405"} == said(report).keys() and "mae-3.ckpt" in said(report)["P405"].fix
    assert "differs" == report.resume
    again = paths[3].with_stem(f"{paths[3].stem}-v1")
    shutil.copy(paths[3], again)  # of a run that was resumed
    put(again, ["callbacks", MONITOR, "best_k_models"], {str(again): torch.tensor(1.0)})
    change(paths[3], callbacks={MONITOR: torch.load(paths[3], weights_only=False)["callbacks"][MONITOR]})
    assert not said(judged(paths[3], shuffle=False))
    last = judged(tmp_path / "mae-3.ckpt", shuffle=False)
    assert ("identical", {}) == (last.resume, said(last))


@pytest.mark.parametrize(("key", "value"), [("best_score", torch.tensor(0.25)), ("wait_count", 3)])
def test_a_state_of_early_stopping_follows_from_the_one_before(tmp_path, key, value):
    """The losses: better, better, worse, better, worse, better."""
    paths = write(tmp_path, 6)
    assert {"identical"} == {judged(path, shuffle=False).resume for path in paths}
    put(paths[2], ["callbacks", STOPPER, key], value)
    assert [{"P409"} if path == paths[2] else set() for path in paths] == [
        said(judged(path, shuffle=False)).keys() for path in paths
    ]
    put(paths[4], ["callbacks", STOPPER, key], value)
    assert not any(said(judged(path, shuffle=False)) for path in paths), "as where checks are left out"
