"""The step of a plateau that Lightning takes after the save, from the value that it monitors."""

from __future__ import annotations

import copy

import pytest
import torch

from ckpt_doctor import migrate
from ckpt_doctor.trainers.lightning.plateau import step
from tests.trainers.lightning.runs import FIT, Run, change, cured, judged, plateau, put, said, write


def test_the_plateaus_step_that_no_resume_makes_up_for(tmp_path):
    paths = write(tmp_path, schedule=plateau)
    report = judged(paths[1])
    assert {"R501"} == said(report).keys() and "plateau" in said(report)["R501"].message
    assert "identical" == cured(paths[1]).resume
    after = torch.load(paths[2], weights_only=False)
    held = torch.load(paths[1], weights_only=False)
    assert after["lr_schedulers"][0] == held["lr_schedulers"][0]
    assert after["optimizer_states"][0]["param_groups"] == held["optimizer_states"][0]["param_groups"]


def test_a_plateau_whose_value_no_file_proves_has_no_cure(tmp_path):
    (path,) = write(tmp_path, 1, schedule=plateau)
    assert "R501" in said(judged(path)) and said(judged(path))["R501"].migration is None
    put(path, ("callbacks",), {})
    assert said(judged(path))["R501"].migration is None


def test_a_plateau_beside_another_schedule_leaves_the_rate_open(tmp_path):
    path = write(tmp_path, schedule=plateau)[1]
    value = torch.load(path, weights_only=False)
    beside = torch.optim.lr_scheduler.StepLR(Run(tmp_path).optimizer, 2).state_dict()
    change(path, lr_schedulers=[*value["lr_schedulers"], beside])
    report = judged(path, shuffle=False)
    assert {} == said(report) and "open" == report.resume
    assert any("plateau" in one.why for one in report.not_checked)


def schedulers():
    """Plateaus of every mode, with a patience, a cooldown and a least rate."""
    for mode in ("min", "max"):
        for how in ("rel", "abs"):
            yield {"mode": mode, "threshold_mode": how, "threshold": 0.1, "patience": 1, "factor": 0.5}
    yield {"patience": 0, "cooldown": 2, "factor": 0.1}
    yield {"patience": 0, "factor": 0.1, "min_lr": 0.004}
    yield {"patience": 0, "factor": 0.999, "eps": 0.1}


@pytest.mark.parametrize("options", list(schedulers()))
def test_the_next_step_is_torchs(options):
    """The whole state and the rates, for values that improve, hardly improve, and do not."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    for value in (1.0, 0.95, 1.2, 0.5, 0.5, 0.6, 2.0, 1.0, 3.0, 3.0):
        state, groups = copy.deepcopy(scheduler.state_dict()), copy.deepcopy(optimizer.param_groups)
        scheduler.step(value)
        found = step(state, groups, value)
        assert scheduler.state_dict() == found.state
        assert [group["lr"] for group in optimizer.param_groups] == list(found.rates)


@pytest.mark.parametrize(
    ("key", "value"),
    [("best", "low"), ("factor", None), ("mode", "most"), ("min_lrs", [0.0, 0.0]), ("eps", None), ("patience", 1.5)],
)
def test_a_state_that_lacks_what_the_step_needs_has_none(key, value):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    state = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer).state_dict()
    assert step(state, optimizer.param_groups, 1.0) is not None
    assert step({**state, key: value}, optimizer.param_groups, 1.0) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("best", 1e9), ("best", -1e9), ("num_bad_epochs", 9), ("cooldown_counter", 9), ("factor", 0.1), ("last_epoch", 3)],
)
def test_an_edited_plateau_is_open_and_nothing_is_computed_from_it(tmp_path, key, value):
    path = write(tmp_path, 5, schedule=plateau)[2]
    put(path, ["lr_schedulers", 0, key], value)
    assert "open" == judged(path, shuffle=False).resume
    assert not any("file before" in one.why for one in judged(path.parent / "epoch=3-step=40.ckpt").not_checked)
    (result,) = migrate([path])
    assert "migrated" != result.status


def test_a_rate_that_the_plateau_did_not_set_is_not_lowered_further(tmp_path):
    """In all files it is a script's own."""
    paths = write(tmp_path, 5, schedule=plateau)
    put(paths[2], ["optimizer_states", 0, "param_groups", 0, "lr"], 0.3)
    assert "open" == judged(paths[2], shuffle=False).resume
    for path in paths:
        put(path, ["optimizer_states", 0, "param_groups", 0, "lr"], 0.3)
    assert {"R501"} == said(judged(paths[2], shuffle=False)).keys()


def test_a_plateau_that_is_stepped_every_second_epoch_lacks_no_step_in_the_first(tmp_path):
    paths = write(tmp_path, 5, schedule=plateau)
    for epoch, path in enumerate(paths):
        put(path, ["lr_schedulers", 0, "last_epoch"], epoch // 2)
        put(path, [*FIT, "epoch_loop.scheduler_progress", "total", "completed"], epoch // 2)
    assert not said(judged(paths[0], shuffle=False))
