"""L303 and O707 beside optimizers and schedulers of every class of torch: what torch itself saves is never a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from ckpt_doctor import audit
from ckpt_doctor.audit import check, judging
from ckpt_doctor.trainers import file_rules
from ckpt_doctor.types import NotChecked
from ckpt_doctor.validators.slots import SLOTS
from tests.validators.healthy_runs import healthy, write
from tests.validators.spoiling import STEP, put

CODES = {"L302", "L303", "O707"}
O = torch.optim  # noqa: E741
Params = list[nn.Parameter]

OPTIMIZERS: dict[str, Callable[[Params], O.Optimizer]] = {
    **{
        name: (lambda p, name=name: getattr(O, name)(p))
        for name in ("Adam", "AdamW", "NAdam", "RAdam", "Adagrad", "Adadelta", "Adamax", "Adafactor", "ASGD", "Rprop")
    },
    "RMSprop": lambda p: O.RMSprop(p, momentum=0.9, centered=True),
    "SGD": lambda p: O.SGD(p, lr=0.1),
    "SGD with momentum": lambda p: O.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "SGD, a rate in a tensor": lambda p: O.SGD(p, lr=torch.tensor(0.1), momentum=0.9),
    "LBFGS": lambda p: O.LBFGS(p, max_iter=3, line_search_fn="strong_wolfe"),
    "Muon": lambda p: O.Muon([q for q in p if q.dim() == 2]),
    "amsgrad": lambda p: O.Adam(p, amsgrad=True),
    "fused": lambda p: O.AdamW(p, fused=True),
    "foreach": lambda p: O.AdamW(p, foreach=True),
    "a rate in a tensor": lambda p: O.Adam(p, lr=torch.tensor(1e-3)),
    "a rate in a tensor, fused": lambda p: O.Adam(p, lr=torch.tensor(1e-3), fused=True),
    "betas in tensors": lambda p: O.Adam(p, lr=torch.tensor(1e-3), betas=(torch.tensor(0.9), torch.tensor(0.99))),
    "betas of 0": lambda p: O.Adam(p, betas=(0.0, 0.0), eps=0.0),
    "a rate of 0": lambda p: O.Adam(p, lr=0),
    "integers": lambda p: O.Adam(p, lr=1, weight_decay=1),
    "two groups": lambda p: O.AdamW([{"params": p[:1], "weight_decay": 0.0}, {"params": p[1:]}]),
}
SCHEDULERS: dict[str, Callable[[O.Optimizer], Any]] = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 2]),
    "ConstantLR": lr_scheduler.ConstantLR,
    "LinearLR": lr_scheduler.LinearLR,
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lr_scheduler.PolynomialLR,
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 20),
    "CosineAnnealingLR past its minimum": lambda o: lr_scheduler.CosineAnnealingLR(o, 1),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=9),
    "OneCycleLR of three phases": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=30, three_phase=True),
    "OneCycleLR at its end": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=4),
    "OneCycleLR, linear": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=9, anneal_strategy="linear"),
    "OneCycleLR without momentum": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=9, cycle_momentum=False),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 1e-3, 1e-2, cycle_momentum=False),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)], [2]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ConstantLR(o)], o),
    "ReduceLROnPlateau": lr_scheduler.ReduceLROnPlateau,
}


def told(root: Path, optimizer: Callable[[Params], O.Optimizer], scheduler: Callable[[O.Optimizer], Any]) -> list[str]:
    """What the gate says of a training file with these two, three steps on."""
    model = nn.Linear(3, 2)
    made = optimizer(list(model.parameters()))
    plan = scheduler(made)

    def loss() -> torch.Tensor:
        made.zero_grad()
        value = model(torch.ones(4, 3)).square().mean()
        value.backward()
        return value

    for _ in range(3):
        made.step(loss)
        plan.step(*([0.5] if isinstance(plan, lr_scheduler.ReduceLROnPlateau) else []))
    payload = {"model": model.state_dict(), "optimizer": made.state_dict(), "scheduler": plan.state_dict()}
    torch.save(payload | {"epoch": 0, "global_step": 3}, root / "checkpoint.pt")
    (file,) = check(root / "checkpoint.pt").files
    assert [] == [entry.what for entry in file.not_checked if entry.what.startswith(("optimizer", "scheduler"))]
    return [f.message for f in file.findings if f.code in CODES and f.severity != "info"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_an_optimizer_saves_is_no_fault(tmp_path, name):
    """Each class of torch, and the ways in which a rate or a beta may be given."""
    assert [] == told(tmp_path, OPTIMIZERS[name], SCHEDULERS["CosineAnnealingLR"])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_a_scheduler_saves_is_no_fault(tmp_path, name):
    """Each class of torch, also where its schedule is over."""
    assert [] == told(tmp_path, OPTIMIZERS["Adam"], SCHEDULERS[name])


def test_every_class_of_torch_is_tried():
    """A class that a later torch adds asks for an entry here."""
    classes = {n for n in dir(O) if isinstance(getattr(O, n), type) and issubclass(getattr(O, n), O.Optimizer)}
    assert classes - {"Optimizer", "SparseAdam"} <= {
        type(make([nn.Parameter(torch.ones(2, 2))])).__name__ for make in OPTIMIZERS.values()
    }


def test_sparse_adam(tmp_path):
    """Its gradients are sparse, its moments are not, and its group has no weight_decay."""
    model = nn.Embedding(4, 3, sparse=True)
    optimizer = O.SparseAdam(model.parameters())
    model(torch.tensor([1, 2])).sum().backward()
    optimizer.step()
    payload = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": None}
    torch.save(payload | {"epoch": 0, "global_step": 1}, tmp_path / "checkpoint.pt")
    assert not CODES & {f.code for f in check(tmp_path / "checkpoint.pt").findings}


def test_capturable_on_a_gpu(tmp_path):
    """Its step lies on the device; whether there is one where the run is resumed is in no file."""
    run = healthy()
    put("optimizer", "param_groups", 0, "capturable", True)(run)
    folder = write(run, tmp_path)
    assert {"ok"} == {file.verdict for file in audit.scan([folder]).files}


def test_what_nobody_can_judge_is_said(tmp_path):
    """A tensor whose bytes are not in the file: neither a fault nor passed over."""
    run = healthy()
    put("optimizer", "param_groups", 0, "weight_decay", torch.empty((), device="meta"))(run)
    (file,) = [f for f in audit.scan([write(run, tmp_path)]).files if f.checkpoint.path.parent.name == STEP]
    assert "optimizer.param_groups[0].weight_decay" in {entry.what for entry in file.not_checked}


@pytest.mark.parametrize(
    "beside",
    [
        put("scheduler", "_last_lr", ["x"]),
        put("epoch", torch.tensor(2)),
        put("optimizer", "param_groups", 0, "params", [np.int64(i) for i in range(8)]),
    ],
)
def test_a_note_hides_no_error(tmp_path, beside):
    """What is worth a note or a warning only keeps nothing else from being judged."""
    run = healthy()
    beside(run)
    put("scheduler", "_schedule_phases", 1, "end_step", 9.0)(run)
    (file,) = [f for f in audit.scan([write(run, tmp_path)]).files if f.checkpoint.path.parent.name == STEP]
    assert "O707" in {f.code for f in file.findings}
    put("optimizer", "state", 0, "exp_avg", "x")(run)
    (file,) = [f for f in audit.scan([write(run, tmp_path)]).files if f.checkpoint.path.parent.name == STEP]
    assert "optimizer.state[0].exp_avg" in {f.where for f in file.findings}


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError])
def test_a_rule_that_fails_passes_no_file(tmp_path, error):
    """Where a rule cannot judge a value, the verdict is not ok, and other rules go on."""
    run = healthy()
    put("counter", 2, file="checkpoint")(run)
    folder = write(run, tmp_path)
    broken = mock.Mock(side_effect=error("x"), code="R501", damage="")
    broken.name = "scheduler-behind"
    with mock.patch.object(judging, "file_rules", lambda *asked: (broken, *file_rules(*asked))):
        report = audit.scan([folder])
    assert {"broken"} == {file.verdict for file in report.files}
    assert {"R501", "E606"} <= {f.code for f in report.findings}
    assert all(not isinstance(f, NotChecked) for f in report.findings)


def test_slots_are_named_once_for_each_condition():
    """Two entries of one name never hold at once: a value would be told twice."""
    exclusive = [{"ours", "foreign"}, {"key", "part"}, {"adam", "other"}, {"OneCycleLR", "CosineAnnealingLR"}]
    exclusive.append({"CosineAnnealingLR", "LambdaLR"})
    for name in {slot.name for slot in SLOTS}:
        conditions = [slot.when for slot in SLOTS if slot.name == name]
        assert len(conditions) == 1 or set(conditions) in exclusive
