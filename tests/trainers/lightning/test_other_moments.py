"""Parts of a file that are of another moment, or gone: what is said, and that a cure sets right what was wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt_doctor import audit, repair
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.types import FileReport
from tests.trainers.lightning.runs import FIT, MONITOR, change, plateau, put, write

GROUP = ("optimizer_states", 0, "param_groups", 0)


def judged(path: Path) -> FileReport:
    return audit.check(path, facts=facts(shuffle=False)).files[0]


def said(path: Path) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.migration) for finding in judged(path).serious]


def test_a_foreign_rate_becomes_the_schedules_and_not_the_other_way_round(tmp_path):
    path = write(tmp_path)[1]
    right = torch.load(path, weights_only=False)
    put(path, [*GROUP, "lr"], 0.5)
    put(path, [*GROUP, "betas"], (0.5, 0.999))
    assert [("R504", "sync-scheduler")] == said(path)
    (result,) = repair.migrate([path])
    assert result.status == "migrated"
    value = torch.load(path, weights_only=False)
    assert value["optimizer_states"][0]["param_groups"] == right["optimizer_states"][0]["param_groups"]
    assert value["lr_schedulers"] == right["lr_schedulers"]
    assert judged(path).resume == "identical"


def test_no_cure_is_promised_of_a_rate_where_none_is_known(tmp_path):
    """A LambdaLR behind its place: its formula is in the script."""
    schedule = lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch)  # noqa: E731
    paths = write(tmp_path, schedule=schedule)
    for number, path in enumerate(paths, 1):
        put(path, [*FIT, "epoch_loop.scheduler_progress", "total", "completed"], number)
        put(path, ["lr_schedulers", 0, "last_epoch"], number)
        put(path, ["lr_schedulers", 0, "_step_count"], number + 1)
    put(paths[1], ["lr_schedulers", 0, "last_epoch"], 1)
    put(paths[1], ["lr_schedulers", 0, "_step_count"], 2)
    put(paths[1], [*GROUP, "lr"], 0.005)
    assert {None} == {migration for _, migration in said(paths[1])} and judged(paths[1]).verdict == "ok"


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("donor", [0, 2])
def test_loops_of_another_moment_are_said_once_and_nothing_is_fitted_to_them(tmp_path, optimizer, donor):
    """Schedule, optimizer and name stand where the labels say."""

    def schedule(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=60, cycle_momentum=False)

    paths = write(tmp_path, optimizer=optimizer, schedule=schedule)
    put(paths[1], ["loops"], torch.load(paths[donor], weights_only=False)["loops"])
    assert [("P409", None)] == said(paths[1])
    assert judged(paths[1]).resume == "differs"
    (result,) = repair.migrate([paths[1]])
    assert result.status == "unchanged"


def test_labels_alone_change_no_resume(tmp_path):
    path = write(tmp_path)[1]
    put(path, ["epoch"], 4)
    put(path, ["global_step"], 50)
    assert [] == said(path) and judged(path).resume == "identical"


def test_counters_that_contradict_each_other_leave_the_place_open(tmp_path):
    """More epochs are over than were begun."""
    path = write(tmp_path)[1]
    put(path, [*FIT, "epoch_progress", "current", "completed"], 5)
    assert judged(path).resume == "open"


def test_an_empty_list_of_optimizers_is_a_reset(tmp_path):
    path = write(tmp_path)[1]
    change(path, optimizer_states=[])
    assert ("O705", None) in said(path) and judged(path).resume == "differs"


def test_the_state_of_another_files_callback(tmp_path):
    paths = write(tmp_path, 4)
    assert [] == said(paths[2])
    put(paths[2], ["callbacks"], torch.load(paths[0], weights_only=False)["callbacks"])
    assert [("P409", None)] == said(paths[2])
    assert [] == said(paths[3])


def test_a_best_score_that_is_gone_from_a_callbacks_state_comes_back(tmp_path):
    path = write(tmp_path, 4)[2]
    held = torch.load(path, weights_only=False)["callbacks"][MONITOR]
    put(path, ["callbacks", MONITOR], {**held, "best_model_score": None, "best_model_path": "", "best_k_models": {}})
    assert [("E611", "add-best-score")] == said(path)
    (result,) = repair.migrate([path])
    assert "migrated" == result.status and held == torch.load(path, weights_only=False)["callbacks"][MONITOR]


def test_an_epoch_that_neither_the_batches_nor_the_label_have(tmp_path):
    path = write(tmp_path)[1]
    for key in ("ready", "started", "processed", "completed"):
        held = torch.load(path, weights_only=False)["loops"]["fit_loop"]["epoch_progress"]["current"][key]
        put(path, [*FIT, "epoch_progress", "current", key], held + 1)
    assert ("P409", None) in said(path) and "differs" == judged(path).resume


def test_a_plateaus_lost_schedule_is_told_by_an_earlier_file(tmp_path):
    """It leaves no `initial_lr` in the optimizer."""
    path = write(tmp_path, 4, schedule=plateau)[2]
    change(path, lr_schedulers=[])
    assert "R508" in {code for code, _ in said(path)}


def test_members_of_a_chain_have_its_position(tmp_path):
    def chain(optimizer):
        kinds = torch.optim.lr_scheduler
        return kinds.ChainedScheduler([kinds.ConstantLR(optimizer, 0.5, 15), kinds.ExponentialLR(optimizer, 0.99)])

    paths = write(tmp_path, schedule=chain)
    right = torch.load(paths[1], weights_only=False)["lr_schedulers"]
    assert [] == said(paths[1])
    put(paths[1], ["lr_schedulers"], torch.load(paths[0], weights_only=False)["lr_schedulers"])
    assert ("R501", "sync-scheduler") in said(paths[1])
    (result,) = repair.migrate([paths[1]])
    assert "migrated" == result.status and right == torch.load(paths[1], weights_only=False)["lr_schedulers"]


def test_moments_that_an_earlier_file_has_were_not_frozen(tmp_path):
    paths = write(tmp_path)
    states = [torch.load(path, weights_only=False)["optimizer_states"][0]["state"] for path in paths]
    put(paths[0], ["optimizer_states", 0, "state"], {1: states[0][1]})
    assert [] == said(paths[0]), "it may have joined later"
    put(paths[2], ["optimizer_states", 0, "state"], {1: states[2][1]})
    assert [("O702", None)] == said(paths[2])
