"""The counters of Lightning's loops say where in its epoch a file was saved."""

from __future__ import annotations

import pytest

from ckpt_doctor import latest
from ckpt_doctor.trainers.lightning.loops import loops_of, step_path
from tests.trainers.lightning.runs import AUTOMATIC, BATCH, FIT, change, judged, loops, put, said, within_epoch, write
from tests.trainers.lightning.values import checkpoint


@pytest.mark.parametrize(
    ("batches", "told"), [(3, "batches 0 to 2 "), (7, "batches 0 to 2 "), (9, "batch 0 "), (1, "batch 0 ")]
)
def test_a_file_from_within_an_epoch_says_what_it_costs(tmp_path, batches, told):
    report = judged(within_epoch(tmp_path, batches))
    assert {"P410"} == said(report).keys() and told in said(report)["P410"].message
    assert "differs" == report.resume and (1, batches) == (report.plan.start_epoch, report.plan.skip_batches)


def test_latest_passes_a_newer_file_from_within_an_epoch_over(tmp_path):
    newer = within_epoch(tmp_path, 4)
    path, passed = latest(tmp_path)
    assert tmp_path / "epoch=0-step=10.ckpt" == path
    ((over, why),) = passed
    assert newer == over and "the last 4 never" in why and "continues identically" in why


def test_a_loader_with_a_state_goes_on(tmp_path):
    path = within_epoch(tmp_path, 4)
    put(path, (*FIT, "state_dict"), {"combined_loader": [{"samples": 16}]})
    assert {} == said(judged(path))


@pytest.mark.parametrize(
    "damage", [{"fit_loop": {}}, {"fit_loop": {"epoch_progress": {"current": {"completed": 3}}}}, {}]
)
def test_loops_that_lack_parts_leave_the_place_open(tmp_path, damage):
    path = write(tmp_path)[-1]
    change(path, loops=damage)
    report = judged(path, shuffle=False)
    assert "open" == report.resume or "L302" in said(report)
    assert not said(report).keys() - {"L302"}


def test_counts_of_older_releases_are_no_fault(tmp_path):
    path = write(tmp_path)[1]
    for span in ("total", "current"):
        put(path, (*BATCH, span, "started"), None)
    assert {} == said(judged(path, shuffle=False))


def read(**changes):
    """The counters of a file of 24 steps, in its third epoch, with other values at `__`-joined paths."""
    fit = loops(24, 24, 3, 4, False)
    for path, value in changes.items():
        *above, key = path.split("__")
        held = fit
        for name in above:
            held = held[name.replace("_loop_", "_loop.", 1) if name.startswith("epoch_loop_") else name]
        held[key] = value
    return loops_of(checkpoint("a.ckpt", {"loops": {"fit_loop": fit}}))


def test_the_counters_say_where_training_goes_on():
    within, end = read(), loops_of(checkpoint("a.ckpt", {"loops": {"fit_loop": loops(20, 20, 2, 10, True)}}))
    assert (2, 4, 24, False, 2) == (within.epoch, within.batch, within.batches, within.at_end, within.start)
    assert (1, 10, 20, True, 2) == (end.epoch, end.batch, end.batches, end.at_end, end.start)
    assert (4, 24) == (within.steps, within.schedule)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch_progress__current__completed": 9},
        {"epoch_progress__current__started": -1},
        {"epoch_loop_batch_progress__current__processed": 25},
        {"epoch_loop_batch_progress__is_last_batch": 1},
        {"epoch_loop_batch_progress__total__processed": "24"},
    ],
)
def test_counters_that_cannot_be_are_none(change):
    """What is over was begun, and a batch of an epoch is one of all."""
    assert read() is not None
    assert read(**change) is None


def test_steps_that_are_made_by_hand_are_counted_elsewhere():
    """Each of the two counts 0 while the other is used."""
    fit = loops(20, 20, 2, 10, True)
    fit[AUTOMATIC]["optimizer"]["step"]["total"]["completed"] = 0
    fit["epoch_loop.manual_optimization.optim_step_progress"]["total"]["completed"] = 20
    held = checkpoint("a.ckpt", {"loops": {"fit_loop": fit}})
    assert "manual" in step_path(held)[2]
    assert loops_of(held).steps is None
    fit[AUTOMATIC]["optimizer"]["step"]["total"]["completed"] = 20
    assert "automatic" in step_path(held)[2], "it is counted there as well"
    assert "" == step_path(checkpoint("a.ckpt", {}))[2]


@pytest.mark.parametrize("started", [0, 1])
def test_a_start_counts_the_epochs_that_were_processed(tmp_path, started):
    """`current.completed` is set anew then, at an epoch's end and within one."""
    path = write(tmp_path)[1] if not started else within_epoch(tmp_path, 3)
    whole = judged(path, shuffle=False)
    put(path, [*FIT, "epoch_progress", "current", "completed"], 0)
    report = judged(path, shuffle=False)
    assert (whole.resume, whole.plan.start_epoch) == (report.resume, report.plan.start_epoch)
