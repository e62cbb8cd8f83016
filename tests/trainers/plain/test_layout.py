"""Which files are taken for a hand-written loop's: those of the known families, and nothing of other projects."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor import facts, latest, scan
from tests.trainers.plain.plain_runs import Loop, run

Saved = dict[str, Any]


def saved(**more: Any) -> Saved:
    loop = Loop("StepLR")
    loop.train()
    loop.step()
    return loop.saved(0, **more)


def renamed(**names: str) -> Saved:
    """The tutorial's parts under a family's names."""
    parts = saved()
    return {name: parts[old] for name, old in names.items()}


def imagenet() -> Saved:
    names = renamed(state_dict="model_state_dict", optimizer="optimizer_state_dict", scheduler="scheduler_state_dict")
    return {"epoch": 1, "arch": "resnet18", "best_acc1": torch.tensor(1.0), **names}


def torchvision() -> Saved:
    names = renamed(model="model_state_dict", optimizer="optimizer_state_dict", lr_scheduler="scheduler_state_dict")
    return {**names, "epoch": 0, "args": argparse.Namespace(lr=0.1)}


def timm() -> Saved:
    names = renamed(state_dict="model_state_dict", optimizer="optimizer_state_dict")
    return {"epoch": 0, "arch": "vit", "version": 2, **names, "args": argparse.Namespace(lr=0.1), "metric": 1.0}


def owner(root: Path, payload: Saved, name: str = "last.pt") -> str:
    torch.save(payload, root / name)
    (file,) = scan([root / name]).files
    return file.trainer


@pytest.mark.parametrize("make", [saved, imagenet, torchvision, timm])
def test_the_families_are_recognised(tmp_path, make: Callable[[], Saved]):
    assert "plain" == owner(tmp_path, make())


def actor() -> Saved:
    names = renamed(actor="model_state_dict", actor_optimizer="optimizer_state_dict")
    return {**names, "total_it": 4}


def swin() -> Saved:
    """Its schedule is timm's, which has no class of torch."""
    return {**torchvision(), "lr_scheduler": {"base_values": [0.1], "t_initial": 9}, "max_accuracy": 1.0}


@pytest.mark.parametrize("make", [actor, swin])
def test_counts_and_schedules_of_other_names_are_claimed(tmp_path, make: Callable[[], Saved]):
    assert "plain" == owner(tmp_path, make())


def pair() -> Saved:
    one, other = saved(), saved()
    return {
        "epoch": 0,
        "G": one["model_state_dict"],
        "D": other["model_state_dict"],
        "optim": one["optimizer_state_dict"],
    }


FOREIGN: dict[str, Callable[[], Saved]] = {
    "Lightning": lambda: {
        **renamed(state_dict="model_state_dict", optimizer="optimizer_state_dict"),
        "epoch": 1,
        "pytorch-lightning_version": "2.6",
    },
    "two models": pair,
    "more schedulers than optimizers": lambda: {
        **saved(optimizer_d=saved()["optimizer_state_dict"]),
        **{f"scheduler_{name}": saved()["scheduler_state_dict"] for name in "abc"},
    },
    "an optimizer of a model that is saved elsewhere": lambda: saved(
        optimizer_d=torch.optim.Adam([torch.nn.Parameter(torch.ones(9, 9))]).state_dict()
        | {"state": {0: {"step": torch.tensor(4.0), "exp_avg": torch.ones(9, 9), "exp_avg_sq": torch.ones(9, 9)}}}
    ),
    "no epoch": lambda: {key: value for key, value in saved().items() if key != "epoch"},
    "half an epoch": lambda: saved() | {"epoch": 0.5},
    "Megatron": lambda: {
        **renamed(model="model_state_dict", optimizer="optimizer_state_dict"),
        "iteration": 4,
        "opt_param_scheduler": {"num_steps": 32},
    },
    "a schedule that is no state": lambda: saved() | {"scheduler_state_dict": [1]},
    "five keys of another trainer": lambda: {
        **renamed(model="model_state_dict", optimizer="optimizer_state_dict", scheduler="scheduler_state_dict"),
        "epoch": 0,
        "global_step": 4,
    },
}


@pytest.mark.parametrize("name", FOREIGN)
def test_others_are_left_alone(tmp_path, name):
    assert "plain" != owner(tmp_path, FOREIGN[name]())


def test_of_more_schedules_than_optimizers_the_rate_is_open(tmp_path):
    """SWALR beside the usual one: which of them is stepped when, the script knows."""
    torch.save(saved(swa_scheduler=saved()["scheduler_state_dict"]), tmp_path / "last.pt")
    (file,) = scan([tmp_path], facts=facts(shuffle=False, resume_epoch="label+1", steps_per_epoch=4)).files
    assert ("plain", "open", []) == (file.trainer, file.resume, [f for f in file.findings if f.severity != "info"])
    assert "more schedules than optimizers" in file.plan.open[0].why


def test_what_fits_by_its_keys_alone_may_be_claimed(tmp_path):
    torch.save(FOREIGN["five keys of another trainer"](), tmp_path / "last.pt")
    (file,) = scan([tmp_path], trainer="plain").files
    assert "plain" == file.trainer


def test_latest_goes_by_progress(tmp_path):
    """Also where the optimizer counts no steps, and whatever the names and times."""
    for optimizer in ("AdamW", "SGD"):
        folder = run(tmp_path / optimizer, "StepLR", optimizer, epochs=3)
        (folder / "checkpoint_2.pt").rename(folder / "a.pt")
        (folder / "checkpoint_0.pt").touch()
        path, _ = latest(folder)
        assert folder / "a.pt" == path
