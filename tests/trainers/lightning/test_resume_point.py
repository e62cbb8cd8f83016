"""Where Lightning resumes from a file, and what of an uninterrupted run it does not give back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ckpt_doctor import audit, latest
from ckpt_doctor.cli.main import app
from ckpt_doctor.trainers.lightning.command import LightningFacts
from ckpt_doctor.trainers.lightning.resume_point import plan, resume_point
from ckpt_doctor.trainers.lightning.schedule import Target
from ckpt_doctor.types import Evidence, Member, Run
from tests.trainers.lightning.runs import AUTOMATIC, FIT, change, cured, judged, one_cycle, put, said, write
from tests.trainers.lightning.values import counted


def test_without_a_word_on_shuffling_the_absent_random_state_is_a_note(tmp_path):
    report = judged(write(tmp_path)[-1])
    assert {"L306": "info"} == {f.code: f.severity for f in report.findings} and report.resume == "identical"
    assert "differs" == judged(tmp_path / "epoch=2-step=30.ckpt", shuffle=True).resume


def test_labels_at_the_top_are_a_note_and_the_loops_step_is_set_right(tmp_path):
    first, second, _ = write(tmp_path)
    change(first, global_step=7)
    report = judged(first)
    assert {} == said(report) and "P409" in {finding.code for finding in report.findings}
    put(second, (*FIT, AUTOMATIC, "optimizer", "step", "total", "completed"), 7)
    assert "P403" in said(judged(second))
    assert "identical" == cured(second).resume


def test_without_loops_training_starts_at_epoch_0(tmp_path):
    path = write(tmp_path)[-1]
    change(path, loops=...)
    report = judged(path)
    assert {"P402"} == said(report).keys() and "differs" == report.resume


def test_weights_alone_stop_only_the_gate(tmp_path):
    path = write(tmp_path, 1)[0]
    change(path, callbacks=..., optimizer_states=..., lr_schedulers=...)
    (scanned,) = audit.scan(tmp_path).files
    assert {} == said(scanned) and "impossible" == scanned.resume
    assert {"L302"} == said(judged(path)).keys()
    runner = CliRunner()
    assert (0, 1) == tuple(runner.invoke(app, [name, str(path)]).exit_code for name in ("scan", "check"))
    assert (None, 1) == (latest(tmp_path)[0], len(latest(tmp_path)[1]))


def test_a_finished_one_cycle_is_a_note_until_more_is_asked_of_it(tmp_path):
    path = write(tmp_path, 6)[-1]
    assert {"R511"} <= {finding.code for finding in judged(path).findings} and {} == said(judged(path))
    assert "R511" in said(judged(path, train_epochs=8))
    assert {"P404"} == said(judged(path, train_epochs=6)).keys()


def told(member: Member, **facts: object):
    """The point and the plan of a file of a run with these facts."""
    run = Run(Path("/run"), "lightning", (member,), LightningFacts(**facts))
    point = resume_point(member, Target())
    return point, plan(member, run, point, ())


def test_a_file_goes_on_with_the_next_epoch_or_within_its_own():
    end, _ = told(counted(20, epoch=2))
    within, _ = told(counted(24, epoch=3, batches=4))
    assert (2, 0, 20, 2) == (end.start_epoch, end.skip_batches, end.global_step, end.finished_epochs)
    assert (2, 4, 24) == (within.start_epoch, within.skip_batches, within.global_step)


def test_the_steps_left_are_those_of_the_epochs_that_are_given():
    facts = {"train_epochs": Evidence(5, "given"), "steps": 10}
    assert [30, 26, 0] == [
        told(member, **facts)[1].steps_left
        for member in (counted(20, epoch=2), counted(24, epoch=3, batches=4), counted(80, epoch=8))
    ]
    assert told(counted(20, epoch=2), steps=10)[1].steps_left is None


def test_a_count_that_nothing_else_bears_out_is_not_taken_for_the_steps():
    def adam(step: int) -> dict[str, object]:
        return {"state": {0: {"step": step}}, "param_groups": [{"lr": 0.01, "params": [0]}]}

    proven = counted(20, epoch=2, name="step=20.ckpt", optimizer_states=[adam(20)])
    other = counted(20, epoch=2, optimizer_states=[adam(13)])
    named = counted(20, epoch=2, name="step=13.ckpt", optimizer_states=[adam(13)])
    assert [20, None, 13] == [told(one)[0].global_step for one in (proven, other, named)]


def test_a_form_that_was_not_measured_has_no_point():
    old = counted(20, epoch=2, **{"pytorch-lightning_version": "1.9.5"})
    point, planned = told(old)
    assert (None, None) == (point.start_epoch, planned.start_epoch)


def test_a_one_cycle_inside_of_another_scheduler_ends_as_well(tmp_path):
    """After a warm-up of 10 steps it has 50: the 61st raises."""

    def warmed_up(optimizer):
        line = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=9)
        return torch.optim.lr_scheduler.SequentialLR(optimizer, [line, one_cycle(optimizer, 50)], [10])

    path = write(tmp_path, 5, schedule=warmed_up)[-1]
    assert "R511" not in said(judged(path, train_epochs=6))
    assert "R511" in said(judged(path, train_epochs=7))


def test_weights_of_double_precision_may_lose_their_last_digits(tmp_path):
    """Measured with precision='64-true': they are loaded into a model of float32."""
    path = write(tmp_path)[-1]
    weights = torch.load(path, weights_only=False)["state_dict"]
    change(path, state_dict={name: value.double() for name, value in weights.items()})
    assert "open" == judged(path, shuffle=False).resume
    change(path, state_dict={**weights, "net.bias": weights["net.bias"].double()})
    assert "identical" == judged(path, shuffle=False).resume


@pytest.mark.parametrize(("finetuning", "late"), [(True, True), (True, False), (False, True)])
def test_layers_that_a_finetuning_callback_thawed_are_frozen_again(tmp_path, finetuning, late):
    """Those that an optimizer has from the start are trained for fewer steps; others may join late by themselves."""
    paths = write(tmp_path, 4)
    for path in paths:
        held = torch.load(path, weights_only=False)["callbacks"]
        callback = {"Finetuning": {"internal_optimizer_metadata": {0: [{"params": ["net.weight"]}]}}}
        change(path, callbacks={**held, **callback} if finetuning else held)
    if late:
        put(paths[2], ["optimizer_states", 0, "state", 0, "step"], torch.tensor(12.0))
    assert ("open" if finetuning and late else "identical") == judged(paths[2], shuffle=False).resume
