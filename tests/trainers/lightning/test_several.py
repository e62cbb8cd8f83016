"""Several optimizers or schedules in one file: what is of another moment shows, and healthy files are silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor import audit, migrate
from ckpt_doctor.trainers.facts import facts
from tests.trainers.lightning.runs import FIT, put, write


def two(folder: Path, epochs: int = 5, schedules: bool = True) -> list[Path]:
    """A run whose files have a second optimizer and a second schedule, which goes by epochs."""
    paths = write(folder, epochs)
    for epoch, path in enumerate(paths, 1):
        value = torch.load(path, weights_only=False)
        optimizer = {"state": {0: {"step": torch.tensor(5.0 * epoch)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        put(path, ["optimizer_states"], [*value["optimizer_states"], optimizer])
        if schedules:
            second = {"gamma": 0.9, "base_lrs": [0.1], "last_epoch": epoch, "_step_count": epoch + 1, "_last_lr": [0.1]}
            put(path, ["lr_schedulers"], [*value["lr_schedulers"], second])
            counted = value["loops"]["fit_loop"]["epoch_loop.scheduler_progress"]["total"]["completed"] + epoch
            put(path, [*FIT, "epoch_loop.scheduler_progress", "total", "completed"], counted)
    return paths


def said(folder: Path) -> dict[str, list[Any]]:
    report = audit.scan(folder, facts=facts(shuffle=False))
    return {
        file.checkpoint.path.name: [(f.code, f.where) for f in file.serious] for file in report.files if file.serious
    }


@pytest.mark.parametrize("schedules", [True, False])
@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_a_healthy_run_with_several_is_silent(tmp_path, schedules, epochs):
    two(tmp_path, epochs, schedules)
    assert said(tmp_path) == {}


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (["optimizer_states", 1, "state", 0, "step"], torch.tensor(5.0), ("P409", "optimizer_states[1]")),
        (["lr_schedulers", 1, "last_epoch"], 2, ("R501", "lr_schedulers[1].last_epoch")),
        (["lr_schedulers", 1, "last_epoch"], 5, ("R502", "lr_schedulers[1].last_epoch")),
        (["lr_schedulers", 0, "last_epoch"], 20, ("R501", "lr_schedulers[0].last_epoch")),
    ],
)
def test_the_one_of_another_moment_is_named(tmp_path, place, value, expected):
    path = two(tmp_path)[2]
    put(path, place, value)
    found = said(tmp_path)
    assert [path.name] == list(found)
    assert expected in found[path.name]


@pytest.mark.parametrize(
    ("place", "value", "code"),
    [
        (["optimizer_states", 1, "param_groups", 0, "lr"], float("nan"), "O707"),
        (["optimizer_states", 1, "param_groups"], [], "O701"),
        (["lr_schedulers", 1, "last_epoch"], "3", "L303"),
        (["optimizer_states", 1, "param_groups", 0], {"lr": 0.1}, "L302"),
    ],
)
def test_a_value_of_the_second_is_judged_as_one_of_the_first(tmp_path, place, value, code):
    path = two(tmp_path)[2]
    put(path, place, value)
    found = said(tmp_path)[path.name]
    assert code in [one for one, _ in found]
    assert {where.partition("]")[0] for one, where in found if one == code} == {f"{place[0]}[1"}


def test_a_lost_schedule_of_two_is_named_and_written_back(tmp_path):
    """Lightning would load the one that is left into the first scheduler."""
    path = two(tmp_path)[2]
    before = torch.load(path, weights_only=False)["lr_schedulers"]
    put(path, ["lr_schedulers"], before[1:])
    assert said(tmp_path) == {path.name: [("R508", "lr_schedulers")]}
    (result,) = [result for result in migrate([tmp_path]) if result.path == path]
    assert result.status == "migrated"
    assert before == torch.load(path, weights_only=False)["lr_schedulers"]
    assert said(tmp_path) == {}


def test_a_schedule_that_goes_by_nothing_is_open(tmp_path):
    """One file, in which the second schedule goes neither by epochs nor by steps."""
    (path,) = two(tmp_path, 1)
    put(path, ["loops", "fit_loop", "epoch_loop.scheduler_progress", "total", "completed"], 0)
    put(path, ["lr_schedulers", 1, "last_epoch"], 3)
    put(path, ["lr_schedulers", 1, "_step_count"], 4)
    (file,) = audit.scan(tmp_path, facts=facts(shuffle=False)).files
    assert ("open", []) == (file.resume, file.serious)
    assert "the schedule lr_schedulers[1]" in [unsure.what for unsure in file.not_checked]


def test_without_siblings_the_loops_show_that_a_schedule_lags(tmp_path):
    (path,) = two(tmp_path, 1)
    put(path, ["lr_schedulers", 1, "last_epoch"], 0)
    put(path, ["lr_schedulers", 1, "_step_count"], 1)
    assert said(tmp_path) == {path.name: [("P409", "lr_schedulers")]}


def test_a_new_start_of_training_is_no_fault_of_its_files(tmp_path):
    """A second `fit` builds new schedules, while the loops count on."""
    for path in two(tmp_path, 2):
        value = torch.load(path, weights_only=False)
        counted = value["loops"]["fit_loop"]["epoch_loop.scheduler_progress"]["total"]["completed"]
        put(path, [*FIT, "epoch_loop.scheduler_progress", "total", "completed"], counted + 7)
    assert said(tmp_path) == {}
