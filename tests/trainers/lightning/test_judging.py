"""Files of PyTorch Lightning: which are its own, what their resume does, what is wrong and what cures it."""

from __future__ import annotations

import numpy
import pytest
import torch

from ckpt_doctor import audit, repair
from ckpt_doctor.trainers.facts import facts
from tests.trainers.lightning.runs import (
    AUTOMATIC,
    BATCH,
    FIT,
    MONITOR,
    STOPPER,
    change,
    judged,
    one_cycle,
    put,
    said,
    write,
)


@pytest.mark.parametrize("schedule", [one_cycle, lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.01, 60)])
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_a_healthy_run_is_identical_and_silent(tmp_path, schedule, optimizer):
    options = {"schedule": schedule, "optimizer": optimizer}
    if optimizer is torch.optim.SGD:
        options["schedule"] = lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.01, 60, cycle_momentum=False)
    write(tmp_path, **options)
    report = audit.scan(tmp_path, facts=facts(shuffle=False))
    assert [("identical", "ok", "lightning")] * 3 == [
        (file.resume, file.verdict, file.trainer) for file in report.files
    ]
    assert [] == list(report.findings)


@pytest.mark.parametrize("optimizer", [torch.optim.Adagrad, torch.optim.RMSprop, torch.optim.Adadelta])
def test_a_weight_that_is_gone_is_missed_by_the_optimizers_moments(tmp_path, optimizer):
    """Buffers make up for it in number."""
    path = write(tmp_path, optimizer=optimizer, schedule=lambda o: torch.optim.lr_scheduler.StepLR(o, 9))[-1]
    weights = torch.load(path, weights_only=False)["state_dict"]
    change(path, state_dict={**weights, "net.mean": torch.ones(7), "net.steps": torch.tensor(3)})
    assert "O701" not in said(judged(path))
    del weights["net.bias"]
    change(path, state_dict={**weights, "net.mean": torch.ones(7), "net.steps": torch.tensor(3)})
    assert "O701" in said(judged(path))


def test_frozen_layers_and_layers_that_join_late(tmp_path):
    path = write(tmp_path, 1)[0]
    put(path, ("optimizer_states", 0, "state", 1, "step"), torch.tensor(3.0))
    assert {} == said(judged(path))
    state = torch.load(path, weights_only=False)["optimizer_states"][0]["state"]
    put(path, ("optimizer_states", 0, "state"), {0: state[0]})
    assert {} == said(judged(path))
    put(path, ("optimizer_states", 0, "state"), {})
    assert {"O705"} == said(judged(path)).keys()


def test_a_numpy_number_among_the_weights_is_no_tensor(tmp_path):
    """`load_state_dict` refuses it, and as a plain number as well."""
    path = write(tmp_path)[1]
    put(path, ["state_dict", "net.scale"], numpy.float32(1))
    file = judged(path)
    assert ("L303", "impossible") == (next(f.code for f in file.findings if f.severity == "error"), file.resume)
    (result,) = repair.migrate([path], fixes=["plain-scalars"])
    assert result.status != "failed"


ODD = {
    "the loops": (("loops",), "x"),
    "a loop": (BATCH, 3),
    "a count of text": ((*BATCH, "total", "ready"), "30"),
    "a count below 0": ((*BATCH, "current", "completed"), -1),
    "the optimizer's steps": ((*FIT, AUTOMATIC, "optimizer"), None),
    "the optimizer's state": (("optimizer_states", 0), None),
    "the schedule's state": (("lr_schedulers", 0), None),
    "how long it waited": (("callbacks", STOPPER, "wait_count"), "2"),
    "the best so far": (("callbacks", STOPPER, "best_score"), None),
    "the best that were kept": (("callbacks", MONITOR, "best_k_models"), None),
}


@pytest.mark.parametrize("what", ODD)
def test_a_value_with_which_lightning_stops_is_told(tmp_path, what):
    path, (keys, new) = write(tmp_path)[1], ODD[what]
    put(path, keys, new)
    file = judged(path, shuffle=False)
    assert "impossible" == file.resume, [(f.code, f.message) for f in file.findings]
    assert {"O707", "L303", "L302"} & said(file).keys()
