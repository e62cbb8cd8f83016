"""The schedule's position in a file, and in an uninterrupted run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from ckpt_doctor import audit, repair
from ckpt_doctor.trainers.lightning import schedule
from ckpt_doctor.types import Member, Run
from tests.trainers.lightning.runs import AUTOMATIC, BATCH, BATCHES, FIT, change, cured, judged, late, put, said, write


def test_a_schedule_that_lags_is_cured(tmp_path):
    path = write(tmp_path)[1]
    whole = torch.load(path, weights_only=False)
    late(path)
    assert {"R501"} == said(judged(path)).keys()
    assert "identical" == cured(path).resume
    held = torch.load(path, weights_only=False)
    assert whole["lr_schedulers"][0]["last_epoch"] == held["lr_schedulers"][0]["last_epoch"]
    assert whole["optimizer_states"][0]["param_groups"] == held["optimizer_states"][0]["param_groups"]


def test_a_script_that_places_the_schedule_itself_is_left_alone(tmp_path):
    """`scheduler.step(epoch)` in every file: the loops' count is another one."""
    for epoch, path in enumerate(write(tmp_path)):
        for key, number in (("last_epoch", epoch), ("_step_count", BATCHES * (epoch + 1) + 1)):
            put(path, ("lr_schedulers", 0, key), number)
        state = torch.load(path, weights_only=False)["lr_schedulers"][0]
        put(path, ("lr_schedulers", 0), {key: held for key, held in state.items() if key != "total_steps"})
    assert not [f for f in audit.scan(tmp_path).findings if f.code in ("R501", "R502")]


def test_a_position_that_the_script_sets_is_no_other_moment_where_all_steps_are_counted(tmp_path):
    path = write(tmp_path)[1]
    state = torch.load(path, weights_only=False)["lr_schedulers"][0]
    kept = {key: held for key, held in state.items() if key in ("base_lrs", "_last_lr", "_step_count")}
    put(path, ("lr_schedulers", 0), {**kept, "gamma": 0.5, "step_size": 9, "last_epoch": 1})
    assert set() == said(judged(path)).keys()
    put(path, ("lr_schedulers", 0, "_step_count"), 7)
    assert "R503" in said(judged(path))


def test_a_scheduler_that_is_not_of_torch_keeps_its_position_where_it_will(tmp_path):
    path = write(tmp_path)[1]
    put(path, ("lr_schedulers", 0), {"base_values": [0.1], "t_initial": 10, "metric": None})
    assert "R508" not in said(judged(path))
    put(path, ("lr_schedulers", 0), {"base_lrs": [0.1], "_step_count": 21})
    assert "R508" in said(judged(path))


def test_rates_set_by_hand_in_every_file(tmp_path):
    for path in write(tmp_path):
        put(path, ("optimizer_states", 0, "param_groups", 0, "lr"), 0.123)
    assert not [f for f in audit.scan(tmp_path).findings if f.code == "R504"]
    write(tmp_path)
    put(path, ("optimizer_states", 0, "param_groups", 0, "lr"), 0.123)
    assert "by hand" in said(judged(path))["R504"].message


def test_a_second_fit_with_a_new_optimizer_is_left_alone(tmp_path):
    """Loops that go on over an optimizer and a schedule that began anew."""
    first = write(tmp_path / "first")
    for path in write(tmp_path):
        value = torch.load(path, weights_only=False)
        fit = value["loops"]["fit_loop"]
        for counts in (fit["epoch_loop.scheduler_progress"], fit[AUTOMATIC]["optimizer"]["step"]):
            counts["total"] = {"ready": counts["total"]["ready"] + 50, "completed": counts["total"]["completed"] + 50}
        value["global_step"] += 50
        torch.save(value, path.with_name(f"epoch={value['epoch']}-step={value['global_step']}.ckpt"))
        path.unlink()
    shutil.copytree(first[0].parent, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(first[0].parent)
    assert not [f for f in audit.scan(tmp_path).findings if f.code in ("P403", "R501", "P401")]


@pytest.mark.parametrize("alone", [False, True])
def test_a_lost_schedule_is_another_files_at_this_files_place(tmp_path, alone):
    """It comes out as it was."""
    path, *others = write(tmp_path)
    lost = torch.load(path, weights_only=False)["lr_schedulers"]
    change(path, lr_schedulers=[])
    for other in others if alone else ():
        other.unlink()
    assert [("R508", None if alone else "sync-scheduler")] == [
        (finding.code, finding.migration) for finding in judged(path, shuffle=False).serious
    ]
    (result,) = repair.migrate([path])
    assert result.status == ("unchanged" if alone else "migrated")
    if not alone:
        (found,) = torch.load(path, weights_only=False)["lr_schedulers"]
        assert {key: value for key, value in found.items() if key in lost[0]} == lost[0]
        assert judged(path, shuffle=False).resume == "identical"


def member_at(path: Path) -> tuple[Member, Run]:
    run = audit.scan(path.parent).runs[0].run
    return next(member for member in run.members if member.checkpoint.path == path), run


def test_the_target_of_a_healthy_file_is_its_own_place(tmp_path):
    member, run = member_at(write(tmp_path)[1])
    found = schedule.target(member, run)
    assert (20, None, "step") == (found.last_epoch, found.changes, found.unit)
    assert schedule.stored(member).lr == found.rates.lr
    assert 0 == schedule.lag(member)
    assert not schedule.is_off_its_schedule(member)


def test_the_target_of_a_late_one_is_what_the_loops_have_counted(tmp_path):
    """With the state and the rates of an uninterrupted run there."""
    path = write(tmp_path)[1]
    whole, _ = member_at(path)
    late(path, 3)
    member, run = member_at(path)
    found = schedule.target(member, run)
    assert (20, 3) == (found.last_epoch, schedule.lag(member))
    assert schedule.stored(whole).lr == found.rates.lr
    assert {"scheduler", "optimizer"} == {slot for slot, _, _ in found.changes}
    assert "20 steps" in found.evidence


def test_several_schedules_have_no_position(tmp_path):
    path = write(tmp_path)[1]
    value = torch.load(path, weights_only=False)
    change(path, lr_schedulers=value["lr_schedulers"] * 2)
    member, run = member_at(path)
    assert schedule.state_of(member) is None
    assert schedule.target(member, run).last_epoch is None


def at_the_last_batch(folder: Path, epochs: int = 3) -> list[Path]:
    """Files of each epoch's last batch, of a script that steps its schedule in a hook of its own, once an epoch."""
    paths = write(folder, epochs, schedule=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9))
    for epoch, path in enumerate(paths):
        state = torch.load(path, weights_only=False)["lr_schedulers"][0]
        put(path, ("lr_schedulers", 0), {**state, "last_epoch": epoch, "_step_count": epoch + 1, "_last_lr": [0.01]})
        put(path, ("optimizer_states", 0, "param_groups", 0, "lr"), 0.01)
        put(path, (*BATCH, "total", "completed"), BATCHES * (epoch + 1) - 1)
        for which in ("total", "current"):
            put(path, (*FIT, "epoch_progress", which, "processed"), epoch)
    return paths


def test_a_step_that_only_a_hook_of_the_script_makes_is_left_out_after_an_epochs_last_batch(tmp_path):
    """With an empty `lr_scheduler_step` the loops count steps that nobody makes."""
    for path in at_the_last_batch(tmp_path):
        found = said(judged(path))
        assert "R501" in found and "no resume takes a step" in found["R501"].message


def test_files_that_mostly_differ_from_the_loops_count_are_of_a_script_that_steps_itself(tmp_path):
    assert schedule.differs_in_most({0: 1, -1: 2})
    assert not schedule.differs_in_most({0: 2, 1: 1, None: 5})
    assert not schedule.differs_in_most({0: 2, 1: 7}), "a run that lost a step once, and lags since"
    members = [member_at(path)[0] for path in at_the_last_batch(tmp_path)]
    assert schedule.is_stepped_by_script(members) and not schedule.is_stepped_by_script(members[:1])


@pytest.mark.parametrize(("last", "told"), [(20, set()), (19, set()), (21, {"R502"}), (12, {"R502"})])
def test_a_schedule_that_a_script_steps_with_each_batch_is_not_ahead(tmp_path, last, told):
    """Where gradients are accumulated, the loops count fewer steps of it, and a lone file shows no more."""
    (path,) = write(tmp_path, 1, schedule=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 99))
    for span in ("total", "current"):
        put(path, [*BATCH, span, "processed"], 20)
    put(path, ["lr_schedulers", 0, "last_epoch"], last)
    put(path, ["lr_schedulers", 0, "_step_count"], last + 1)
    assert told == said(judged(path, shuffle=False)).keys()
