"""A part of one file that is of another moment, by its siblings: which part it is, and what that means."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor import facts, migrate, scan
from tests.trainers.plain.plain_runs import (
    LABEL,
    STEPS,
    TOLD,
    Change,
    Loop,
    changed,
    judged_among_siblings,
    resumed,
    run,
    same,
    serious,
    straight,
)


def take(key: str) -> Change:
    return lambda value, other: value.update({key: other[key]})


OPTIMIZER, SCHEDULE = take("optimizer_state_dict"), take("scheduler_state_dict")


@pytest.mark.parametrize("told", [pytest.param({}, id="open", marks=pytest.mark.long), pytest.param(TOLD, id="told")])
@pytest.mark.parametrize(
    ("schedule", "optimizer", "change", "expected"),
    [
        ("StepLR", "AdamW", LABEL, [("P402", "fix-epoch")]),
        ("none", "AdamW", LABEL, [("P402", "fix-epoch")]),
        ("StepLR", "SGD", LABEL, [("P402", "fix-epoch")]),
        ("ExponentialLR", "AdamW", OPTIMIZER, [("P409", None)]),
        ("OneCycleLR", "AdamW", OPTIMIZER, [("P409", None)]),
        ("none", "AdamW", OPTIMIZER, [("P409", None)]),
        ("CosineAnnealingLR", "AdamW", SCHEDULE, [("R501", "sync-scheduler")]),
        ("CosineAnnealingLR", "SGD", SCHEDULE, [("R501", "sync-scheduler")]),
        ("OneCycleLR", "SGD", SCHEDULE, [("R501", "sync-scheduler")]),
    ],
)
def test_the_part_that_departs_from_the_rest_is_named(tmp_path, schedule, optimizer, change, expected, told):
    """And its siblings stay without a word. The rate of another epoch's optimizer is a consequence."""
    folder = run(tmp_path, schedule, optimizer)
    path = changed(folder / "checkpoint_3.pt", change, folder / "checkpoint_1.pt")
    found = serious(judged_among_siblings(path, **told))
    assert expected == [one for one in found if one[0] != "R504"]
    assert (
        judged_among_siblings(path, **told).resume
        == ("differs" if told else judged_among_siblings(path).resume)
        != "identical"
    )
    assert [] == [
        f for file in sorted(folder.glob("*_[0124].pt")) for f in serious(judged_among_siblings(file, **told))
    ]


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
@pytest.mark.parametrize("change", [LABEL, SCHEDULE])
def test_cured_by_its_siblings_it_resumes_identically(tmp_path, optimizer, change):
    """Whatever the script does with the label: siblings show what theirs is."""
    folder = run(tmp_path, "CosineAnnealingLR", optimizer)
    path = changed(folder / "checkpoint_3.pt", change, folder / "checkpoint_2.pt")
    assert not same(resumed(path, "CosineAnnealingLR", optimizer), straight("CosineAnnealingLR", optimizer))
    (result,) = [result for result in migrate([folder]) if result.path == path]
    assert result.status == "migrated"
    assert same(resumed(path, "CosineAnnealingLR", optimizer), straight("CosineAnnealingLR", optimizer))
    assert serious(judged_among_siblings(path)) == []


def test_a_file_from_within_an_epoch_is_of_no_other_moment(tmp_path):
    """The label is that of the epoch that was interrupted."""
    folder = run(tmp_path, "none")
    last = torch.load(folder / "checkpoint_4.pt", weights_only=False)
    for entry in last["optimizer_state_dict"]["state"].values():
        entry["step"] -= 2
    torch.save(last, folder / "interrupted.pt")
    assert serious(judged_among_siblings(folder / "interrupted.pt")) == []


def test_two_files_that_disagree_leave_the_position_open(tmp_path):
    """Two of three prove no line."""
    folder = run(tmp_path, "none", epochs=3)
    changed(folder / "checkpoint_2.pt", OPTIMIZER, folder / "checkpoint_0.pt")
    assert {"open"} == {file.resume for file in scan([folder], facts=facts(**TOLD)).files}


def with_batch_norm(folder):
    """The counter that torch's batch norm has, which grows with each batch in training."""
    for epoch, path in enumerate(sorted(folder.iterdir())):
        counter = torch.tensor((epoch + 1) * STEPS)
        changed(path, lambda v, _, n=counter: v["model_state_dict"].update({"3.num_batches_tracked": n}))
    return folder


@pytest.mark.parametrize("label", [0, 1])
def test_batch_norm_shows_how_many_epochs_are_finished(tmp_path, label):
    """SGD does not. A label is then finished or next, and only where the script starts is asked."""
    folder = with_batch_norm(run(tmp_path, "StepLR", "SGD", label=label))
    start = {"resume_epoch": "label" if label else "label+1"}
    files = scan([folder], facts=facts(shuffle=False, **start)).files
    assert {file.resume for file in files} == {"identical"}
    assert [file.resume_point.finished_epochs for file in files] == [1, 2, 3, 4, 5]


def test_weights_of_another_moment_are_named(tmp_path):
    folder = with_batch_norm(run(tmp_path, "StepLR"))
    path = changed(folder / "checkpoint_3.pt", take("model_state_dict"), folder / "checkpoint_1.pt")
    (found,) = [one for one in judged_among_siblings(path, **TOLD).findings if one.severity != "info"]
    assert ("P409", "model_state_dict") == (found.code, found.where)
    assert "weights are of another moment" in found.message
    assert {"identical"} == {judged_among_siblings(other, **TOLD).resume for other in folder.glob("*_[0124].pt")}


def test_a_batch_norm_that_is_frozen_shows_nothing(tmp_path):
    folder = with_batch_norm(run(tmp_path, "StepLR"))
    for path in folder.iterdir():
        changed(path, lambda v, _: v["model_state_dict"]["3.num_batches_tracked"].fill_(77))
    assert {"identical"} == {judged_among_siblings(path, **TOLD).resume for path in folder.iterdir()}


def with_own_schedule(folder):
    """A class of the script's own, as Noam's: it counts the steps and has no rates."""
    for epoch, path in enumerate(sorted(folder.iterdir())):
        changed(path, lambda v, _, n=epoch + 1: v.update(scheduler={"step_num": STEPS * n, "warmup_steps": 8}))
    return folder


def test_a_schedule_of_no_class_of_torch_leaves_the_rate_open(tmp_path):
    """All else is judged, and what it counts is compared with the rest."""
    folder = with_own_schedule(run(tmp_path))
    files = scan([folder], facts=facts(**TOLD)).files
    assert {("plain", "open")} == {(file.trainer, file.resume) for file in files}
    assert {("the rate of the first batch",)} == {tuple(one.what for one in file.plan.open) for file in files}
    path = changed(folder / "checkpoint_2.pt", lambda v, _: v["scheduler"].update(step_num=STEPS))
    (found,) = [one for one in judged_among_siblings(path, **TOLD).findings if one.severity != "info"]
    assert ("P409", "scheduler", None) == (found.code, found.where, found.migration)
    assert "the schedule's counts are of another moment" in found.message


def test_mmengine_goes_on_at_the_epoch_of_its_meta(tmp_path):
    """Its label is the number of finished epochs, and its schedules are of its own classes."""
    folder = run(tmp_path, "none")
    for epoch, path in enumerate(sorted(folder.iterdir()), 1):
        parts = torch.load(path, weights_only=False)
        meta, hub = {"epoch": epoch, "iter": STEPS * epoch}, {"runtime_info": {"epoch": epoch - 1}}
        named = {"state_dict": parts["model_state_dict"], "optimizer": parts["optimizer_state_dict"]}
        torch.save({"meta": meta, "message_hub": hub, **named, "param_schedulers": [{"last_step": epoch}]}, path)
    files = scan([folder], facts=facts(shuffle=False)).files
    assert [1, 2, 3, 4, 5] == [file.plan.start_epoch for file in files]
    assert {("the rate of the first batch",)} == {tuple(one.what for one in file.plan.open) for file in files}
    path = changed(folder / "checkpoint_2.pt", lambda v, _: v["meta"].update(epoch=2))
    assert serious(judged_among_siblings(path)) == [("P402", "fix-epoch")]


def uneven(folder):
    """A run of longer and longer epochs, which counts its steps as well."""
    loop, steps = Loop(), 0
    for epoch in range(6):
        for _ in range(epoch + 1):
            loop.train()
        steps += STEPS * (epoch + 1)
        torch.save(loop.saved(epoch, global_step=steps), folder / f"checkpoint_{epoch}.pt")
    return folder


@pytest.mark.parametrize(("number", "told"), [(3, True), (5, False)])
def test_a_count_of_steps_goes_with_adams_in_epochs_of_any_length(tmp_path, number, told):
    """At the end a step may have been left out."""
    folder = uneven(tmp_path)
    assert not any(serious(file) for file in scan([folder]).files)
    changed(folder / f"checkpoint_{number}.pt", lambda v, _: v.update(global_step=v["global_step"] + 1))
    found = {f.checkpoint.path.stem[-1]: {code for code, _ in serious(f)} for f in scan([folder]).files}
    assert {key: codes for key, codes in found.items() if codes} == ({str(number): {"P402"}} if told else {})


def within(folder):
    """A run that is saved every three steps, in epochs of five."""
    loop = Loop()
    loop.batches = loop.batches[:3]
    for step in range(3, 25, 3):
        loop.train()
        torch.save({**loop.saved((step - 1) // 5), "global_step": step}, folder / f"step_{step}.pt")
    return folder


def test_the_epoch_of_a_file_that_was_saved_within_it_goes_with_its_steps(tmp_path):
    within(tmp_path)
    assert not any(serious(file) for file in scan([tmp_path]).files)
    changed(tmp_path / "step_12.pt", lambda v, _: v.update(epoch=4))
    found = [(f.checkpoint.path.stem, one) for f in scan([tmp_path]).files for one in f.findings if one.code == "P402"]
    assert [(name, one.found, one.expected) for name, one in found] == [("step_12", 4, 2)]


def test_a_label_that_is_not_that_of_the_name_is_a_note_where_nothing_else_counts(tmp_path):
    folder = run(tmp_path, "none", "SGD")
    changed(folder / "checkpoint_2.pt", lambda v, _: v.update(epoch=3))
    (file,) = [file for file in scan([folder]).files if file.checkpoint.path.stem == "checkpoint_2"]
    assert ["P401"] == [one.code for one in file.findings if one.code != "P412"]
