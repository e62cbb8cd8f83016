"""Which schedule and which model go with which optimizer, by what torch leaves in them, by names and by rates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim
from torch.optim import lr_scheduler as sched

from ckpt_doctor.audit.opening import read_file
from ckpt_doctor.inert.pairing import covers, model_of, pairing_of
from ckpt_doctor.inert.shapes import Shapes, find
from ckpt_doctor.types import dotted

Parts = dict[str, Any]
CLASSES: dict[str, Callable[[optim.Optimizer], Any]] = {
    "step": lambda o: sched.StepLR(o, 2),
    "one cycle": lambda o: sched.OneCycleLR(o, o.defaults["lr"], total_steps=9),
    "cyclic": lambda o: sched.CyclicLR(o, o.defaults["lr"], 1.0, cycle_momentum=False),
    "sequence": lambda o: sched.SequentialLR(o, [sched.ConstantLR(o, 0.5), sched.ExponentialLR(o, 0.9)], [2]),
    "chain": lambda o: sched.ChainedScheduler([sched.ConstantLR(o, 0.5), sched.ExponentialLR(o, 0.9)], o),
    "plateau": lambda o: sched.ReduceLROnPlateau(o),
}


def made(rates: tuple[float, ...], groups: int = 1, width: int = 4) -> tuple[nn.Module, optim.Optimizer]:
    model = nn.ModuleList([nn.Linear(3, width) for _ in range(groups)])
    optimizer = optim.Adam([{"params": part.parameters()} for part in model], lr=rates[0])
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return model, optimizer


def shapes_of(folder: Path, parts: Parts) -> Shapes:
    torch.save(parts, folder / "x.pt")
    return find(read_file(folder / "x.pt"))


def paired(shapes: Shapes) -> dict[str, str]:
    """Optimizer's place -> its scheduler's."""
    pairs = pairing_of(shapes).schedulers.items()
    return {dotted(shapes.optimizers[o].path): dotted(shapes.schedulers[s].path) for o, s in pairs}


@pytest.mark.parametrize("one", CLASSES)
@pytest.mark.parametrize("other", CLASSES)
def test_first_rates_and_numbers_of_groups_tell_whatever_the_names(tmp_path, one, other):
    (_, a), (_, b) = made((0.1,)), made((0.2,), groups=1 if "plateau" not in (one, other) else 2)
    states = {"first": CLASSES[one](a).state_dict(), "second": CLASSES[other](b).state_dict()}
    shapes = shapes_of(tmp_path, {"b": b.state_dict(), "a": a.state_dict(), **states})
    assert paired(shapes) == {"a": "first", "b": "second"}


@pytest.mark.parametrize(
    ("optimizers", "schedulers"),
    [
        (("optimizerG_state_dict", "optimizerD_state_dict"), ("schedulerG_state_dict", "schedulerD_state_dict")),
        (("optim_g", "optim_d"), ("sched_g", "sched_d")),
        (("actor_optimizer", "critic_optimizer"), ("lr_scheduler_actor", "critic_lr_scheduler")),
        (("opt_gen", "opt_disc"), ("scheduler_gen_state_dict", "scheduler_disc_state_dict")),
        (("optG", "optD"), ("schG", "schD")),
        (("g_opt", "d_opt"), ("lr_sched_g", "lr_sch_d")),
    ],
)
def test_names_tell_where_the_rates_do_not(tmp_path, optimizers, schedulers):
    """Also where the keys come in another order."""
    (_, a), (_, b) = made((0.1,)), made((0.1,))
    one, other = sched.StepLR(a, 2), sched.StepLR(b, 2)
    parts = dict(zip(optimizers, (a.state_dict(), b.state_dict()), strict=True))
    parts |= dict(zip(reversed(schedulers), (other.state_dict(), one.state_dict()), strict=True))
    assert paired(shapes_of(tmp_path, parts)) == dict(zip(optimizers, schedulers, strict=True))


def test_the_same_place_in_two_lists_tells(tmp_path):
    held = [made((0.1,))[1] for _ in range(3)]
    parts = {"optims": [o.state_dict() for o in held], "plans": [sched.StepLR(o, 2).state_dict() for o in held]}
    assert paired(shapes_of(tmp_path, parts)) == {f"optims[{at}]": f"plans[{at}]" for at in range(3)}


def test_an_optimizer_that_never_had_a_scheduler_has_none(tmp_path):
    (_, a), (_, b) = made((0.1,)), made((0.1,))
    parts = {"a": a.state_dict(), "plan": sched.StepLR(b, 2).state_dict(), "b": b.state_dict()}
    assert paired(shapes_of(tmp_path, parts)) == {"b": "plan"}


def test_rates_that_have_moved_apart_tell(tmp_path):
    (_, a), (_, b) = made((0.1,)), made((0.1,))
    one, _ = sched.ExponentialLR(a, 0.5), sched.ExponentialLR(b, 0.9)
    for optimizer, factor in ((a, 0.5), (b, 0.9)):
        optimizer.param_groups[0]["lr"] *= factor
    one.optimizer = a
    state = {**one.state_dict(), "last_epoch": 1, "_last_lr": [0.05]}
    shapes = shapes_of(tmp_path, {"b": b.state_dict(), "a": a.state_dict(), "plan": state})
    assert paired(shapes) == {"a": "plan"}


def test_what_nothing_tells_is_open(tmp_path):
    (_, a), (_, b) = made((0.1,)), made((0.1,))
    parts = {"x": a.state_dict(), "y": b.state_dict(), "plan": sched.StepLR(a, 2).state_dict()}
    sched.StepLR(b, 2)
    parts["y"] = b.state_dict()
    shapes = shapes_of(tmp_path, {**parts, "x": a.state_dict()})
    assert ({}, (0,)) == (paired(shapes), pairing_of(shapes).open)


def test_a_model_is_that_of_the_moments_or_of_the_name(tmp_path):
    (one, a), (other, b) = made((0.1,), width=4), made((0.1,), width=5)
    (_, foreign) = made((0.1,), width=7)
    parts = {"netG": one.state_dict(), "D": other.state_dict(), "opt_d": b.state_dict(), "opt_g": a.state_dict()}
    shapes = shapes_of(tmp_path, parts)
    assert ["D", "netG"] == [dotted(model.path) for o in shapes.optimizers if (model := model_of(o, shapes))]
    shapes = shapes_of(tmp_path, {**parts, "opt_g": dict(b.state_dict()), "opt_x": foreign.state_dict()})
    of_d, of_g, of_none = shapes.optimizers
    assert ["D", "netG"] == [dotted(model.path) for o in (of_d, of_g) if (model := model_of(o, shapes))]
    assert model_of(of_none, shapes) is None
    assert [True, True, False] == [covers(shapes, o) for o in shapes.optimizers]
