"""Several optimizers or schedules in one file: what is of another moment shows, and healthy files are silent."""

from __future__ import annotations

import pytest
import torch

from tests.trainers.lightning.runs import FIT, put, serious_in, two


@pytest.mark.parametrize("schedules", [True, False])
@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_a_healthy_run_with_several_is_silent(tmp_path, schedules, epochs):
    two(tmp_path, epochs, schedules)
    assert serious_in(tmp_path) == {}


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
    found = serious_in(tmp_path)
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
    found = serious_in(tmp_path)[path.name]
    assert code in [one for one, _ in found]
    assert {where.partition("]")[0] for one, where in found if one == code} == {f"{place[0]}[1"}


def test_without_siblings_the_loops_show_that_a_schedule_lags(tmp_path):
    (path,) = two(tmp_path, 1)
    put(path, ["lr_schedulers", 1, "last_epoch"], 0)
    put(path, ["lr_schedulers", 1, "_step_count"], 1)
    assert serious_in(tmp_path) == {path.name: [("P409", "lr_schedulers")]}


def test_a_new_start_of_training_is_no_fault_of_its_files(tmp_path):
    """A second `fit` builds new schedules, while the loops count on."""
    for path in two(tmp_path, 2):
        value = torch.load(path, weights_only=False)
        counted = value["loops"]["fit_loop"]["epoch_loop.scheduler_progress"]["total"]["completed"]
        put(path, [*FIT, "epoch_loop.scheduler_progress", "total", "completed"], counted + 7)
    assert serious_in(tmp_path) == {}
