"""By what each schedule of several goes, and where one that is lost or of another moment belongs."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor import audit, migrate
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.trainers.lightning import pace
from tests.trainers.lightning.runs import AUTOMATIC, put, serious_in, two, write


def test_a_lost_schedule_of_two_is_named_and_written_back(tmp_path):
    """Lightning would load the one that is left into the first scheduler."""
    path = two(tmp_path)[2]
    before = torch.load(path, weights_only=False)["lr_schedulers"]
    put(path, ["lr_schedulers"], before[1:])
    assert serious_in(tmp_path) == {path.name: [("R508", "lr_schedulers")]}
    (result,) = [result for result in migrate([tmp_path]) if result.path == path]
    assert result.status == "migrated"
    assert before == torch.load(path, weights_only=False)["lr_schedulers"]
    assert serious_in(tmp_path) == {}


def test_a_schedule_that_goes_by_nothing_is_open(tmp_path):
    """One file, in which the second schedule goes neither by epochs nor by steps."""
    (path,) = two(tmp_path, 1)
    put(path, ["loops", "fit_loop", "epoch_loop.scheduler_progress", "total", "completed"], 0)
    put(path, ["lr_schedulers", 1, "last_epoch"], 3)
    put(path, ["lr_schedulers", 1, "_step_count"], 4)
    (file,) = audit.scan(tmp_path, facts=facts(shuffle=False)).files
    assert ("open", []) == (file.resume, file.serious)
    assert "the schedule lr_schedulers[1]" in [unsure.what for unsure in file.not_checked]


def paces_of(folder):
    run = audit.scan(folder).runs[0].run
    return {place[-1]: found for place, found in pace.paces(run.members).items()}, run


def test_each_schedule_goes_by_its_own_optimizers_steps_or_by_the_epochs(tmp_path):
    """The first is stepped with its optimizer, the second once an epoch."""
    paths = two(tmp_path)
    found, run = paces_of(tmp_path)
    assert {0: "step", 1: "epoch"} == {at: one.by for at, one in found.items()}
    assert all(one.whole.checkpoint.path in paths for one in found.values())
    assert [[10 * n, n] for n in range(1, 6)] == [[pace.due(one, run) for one in m.optimizers] for m in run.members]


def test_one_file_of_another_moment_does_not_change_the_pace_and_is_due_where_the_run_is(tmp_path):
    path = two(tmp_path)[2]
    put(path, ["lr_schedulers", 1, "last_epoch"], 1)
    found, run = paces_of(tmp_path)
    assert "epoch" == found[1].by
    (late,) = [member for member in run.members if member.checkpoint.path == path]
    target = pace.target(late.optimizers[1], run)
    assert (3, "epoch") == (target.last_epoch, target.unit)
    assert (pytest.approx(0.1 * 0.9**3),) == target.rates.lr


def test_files_that_contradict_each_other_have_no_pace(tmp_path):
    for path, at in zip(two(tmp_path, 2), (5, 7), strict=True):
        put(path, ["lr_schedulers", 1, "last_epoch"], at)
    assert paces_of(tmp_path)[0][1].by is None


def test_a_file_of_one_optimizer_that_lightning_steps_is_measured_by_its_loops(tmp_path):
    write(tmp_path)
    found, run = paces_of(tmp_path)
    assert {} == found
    assert not any(map(pace.is_measured_here, run.members))


def before_its_end(path, epoch):
    """Saved at the last batch, before what a script does at the end of the epoch."""
    for part in ("total", "current"):
        for key in ("processed", "completed"):
            put(path, ["loops", "fit_loop", "epoch_progress", part, key], epoch)


def test_at_a_last_batch_a_step_of_an_epochs_start_may_be_left_out(tmp_path):
    """The second schedule is where a script has it that steps at the last batch, or at each start."""
    paths = two(tmp_path)
    for epoch, path in enumerate(paths):
        before_its_end(path, epoch)
    _, run = paces_of(tmp_path)
    assert ("", True) == (target(run, 0), "leaves one out" in target(run, 1))
    put(paths[0], ["loops", "fit_loop", "epoch_loop.batch_progress", "is_last_batch"], False)
    put(paths[0], ["lr_schedulers", 1, "last_epoch"], 0)
    _, run = paces_of(tmp_path)
    assert ["", ""] == [target(run, 0), target(run, 1)], "a file from within an epoch has no step of its start"


def target(run, at):
    return pace.target(run.members[-1].optimizers[at], run).open


@pytest.mark.parametrize(("version", "doubts"), [("2.6.6", False), ("2.4.0", True)])
def test_a_step_at_an_epochs_start_is_left_out_by_a_resume_too(tmp_path, version, doubts):
    """Of a file from an epoch's last batch; before 2.5 `on_train_epoch_start` was called."""
    for epoch, path in enumerate(two(tmp_path)):
        put(path, ["pytorch-lightning_version"], version)
        for key, number in (("last_epoch", epoch), ("_step_count", epoch + 1)):
            put(path, ["lr_schedulers", 1, key], number)
        before_its_end(path, epoch)
    (told,) = {f.message.rpartition("; ")[2] for f in audit.scan(tmp_path).findings if f.code == "R501"}
    assert doubts == ("right only where" in told)


def test_steps_made_by_hand_are_held_against_the_other_files_and_a_rate_against_its_schedule(tmp_path):
    by_hand = "epoch_loop.manual_optimization.optim_step_progress"
    paths = write(tmp_path, 4, schedule=lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.99))
    for path in paths:
        loops = torch.load(path, weights_only=False)["loops"]["fit_loop"]
        put(path, ["loops", "fit_loop", by_hand], loops[AUTOMATIC]["optimizer"]["step"])
        put(path, ["loops", "fit_loop", AUTOMATIC, "optimizer", "step", "total"], {"ready": 0, "completed": 0})
    assert serious_in(tmp_path) == {}
    right = torch.load(paths[2], weights_only=False)["optimizer_states"]
    put(paths[2], ["optimizer_states", 0, "param_groups", 0, "lr"], 0.5)
    assert ["R504"] == [code for code, _ in serious_in(tmp_path)[paths[2].name]]
    migrate([paths[2]])
    held = torch.load(paths[2], weights_only=False)["optimizer_states"]
    assert right[0]["param_groups"] == held[0]["param_groups"]
    put(paths[2], ["optimizer_states"], torch.load(paths[0], weights_only=False)["optimizer_states"])
    assert ("P409", "optimizer_states[0]") in serious_in(tmp_path)[paths[2].name]
