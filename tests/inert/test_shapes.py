"""What the parts of a checkpoint are taken for, by their shape alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import optim

from ckpt_doctor.audit.opening import read_file
from ckpt_doctor.inert.shapes import MOST_ITEMS, Shapes, find, settings
from ckpt_doctor.types import Checkpoint, Opaque

OPTIMIZER: dict[str, Any] = {"state": {0: {"step": 3}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
SCHEDULER: dict[str, Any] = {"last_epoch": 2, "base_lrs": [0.1]}


def checkpoint(root: object, parts: tuple[Checkpoint, ...] = ()) -> Checkpoint:
    """A file with such a tree in it, or a unit."""
    return Checkpoint(Path("x"), 0, "folder" if parts else "torch-zip", "training", root, parts=parts)


def shapes(root: object) -> Shapes:
    """What is found in a file."""
    return find(checkpoint(root))


@pytest.mark.parametrize(
    ("root", "path"),
    [
        (OPTIMIZER, ()),
        ({"optimizer": OPTIMIZER}, ("optimizer",)),
        ({"optimizer_states": [OPTIMIZER]}, ("optimizer_states", 0)),
        ({"trainer": {"state": {"optimizers": (OPTIMIZER,)}}}, ("trainer", "state", "optimizers", 0)),
        ({"a": {"b": {"c": {"d": {"e": OPTIMIZER}}}}}, None),
        ({"history": [None] * MOST_ITEMS + [OPTIMIZER]}, None),
        ({"half": {"param_groups": []}}, None),
    ],
)
def test_an_optimizer_is_found_where_trainers_put_one(root, path):
    """At the top, in a list, two levels down; not wherever a tree may reach."""
    assert [path] * (path is not None) == [optimizer.path for optimizer in shapes(root).optimizers]


@pytest.mark.parametrize(
    ("state", "known"),
    [
        (SCHEDULER, True),
        ({"_schedulers": [SCHEDULER], "_milestones": [2]}, True),
        ({"best": 0.1, "num_bad_epochs": 0, "last_epoch": 2}, True),
        ({"last_epoch": 2, "model_name": "x"}, False),
    ],
)
def test_a_position_alone_is_not_a_scheduler(state, known):
    """Scripts count epochs under the same name; torch's classes keep their rates beside it."""
    assert [("lr_sched",)] * known == [scheduler.path for scheduler in shapes({"lr_sched": state}).schedulers]


def test_what_is_in_a_part_is_not_another_part():
    """Of a scheduler that holds others only the whole is named."""
    nested = {"_schedulers": [SCHEDULER, SCHEDULER], "last_epoch": 2}
    assert 1 == len(shapes({"scheduler": nested}).schedulers)


def test_settings_are_not_counts():
    """`epoch` and `step` of the command are how far training shall go; those of its progress are how far it went."""
    root = {"epoch": 3, "args": {"epoch": 100, "step": 30}, "meta": {"iter": 12}, "model": {"step": 1}}
    found = shapes(root)
    assert [(("epoch",), 3)] == [(part.path, part.value) for part in found.epochs]
    assert [(("meta", "iter"), 12)] == [(part.path, part.value) for part in found.steps]
    assert [("epoch", 100), ("step", 30)] == list(settings(checkpoint(root)))


@pytest.mark.parametrize("name", ["best_acc1", "best_val_loss", "best_metric", "best_mAP", "best_val_acc"])
def test_a_best_value_is_known_by_its_name(name):
    """Also where it is None."""
    assert [(name,)] == [part.path for part in shapes({name: None, "best_epoch": 3, "best_model_path": ""}).best]


def test_a_part_of_a_unit_is_as_deep_as_a_file():
    """Paths begin with the part's name."""
    files = {"state/optimizer.pt": OPTIMIZER, "trainer.json": {"global_step": 7}}
    found = find(checkpoint(files, parts=tuple(checkpoint(root) for root in files.values())))
    assert [("state/optimizer.pt",)] == [optimizer.path for optimizer in found.optimizers]
    assert [(("trainer.json", "global_step"), 7)] == [(part.path, part.value) for part in found.steps]


@pytest.mark.parametrize("make", [optim.Adagrad, optim.RMSprop, optim.Adafactor, optim.AdamW])
def test_an_optimizer_with_averages_needs_a_state(make: Any):
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    for optimizer, expected in ((make(parameters), [0, 1]), (optim.SGD(parameters), [])):
        found = shapes({"optimizer": {**optimizer.state_dict(), "state": {}}})
        assert expected == found.optimizers[0].stateful()


def test_an_object_that_is_named_often_is_looked_at_once():
    """A pickle can hold 50 to the power of 30 lists in a few lines."""
    deep: list[Any] = []
    for _ in range(30):
        deep = [deep] * 50
    group = {"lr": 0.1, "params": list(range(3000)), "betas": (0.9, 0.99)}
    many = {"state": {}, "param_groups": [group] * 3000}
    began = time.process_time()
    found = shapes({"deep": deep, "opaque": Opaque(None, ()), "many": many})
    assert list(range(3000)) == found.optimizers[0].stateful()
    assert [0] == list(found.optimizers[0].distinct_groups)
    assert time.process_time() - began < 1


def test_a_model_that_was_saved_whole_has_the_names_of_its_state_dict(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    torch.save({"net": model, "epoch": 3}, tmp_path / "x.pt")
    (found,) = find(read_file(tmp_path / "x.pt")).models
    assert (("net",), set(model.state_dict())) == (found.path, set(found.value))
