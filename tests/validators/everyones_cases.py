"""For every rule that speaks of files which no trainer owns: faults that break it, and files that come close.

CASES["R504"] = Pair(breaks=(Told(...), ...), spares=(File(...), ...))
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, optim

from tests.validators.plain_files import (
    EPOCHS,
    STEPS,
    Loop,
    Payload,
    averaged,
    by_hand,
    gan,
    head_elsewhere,
    late_generator,
    nested,
    of_half_precision,
    plain,
    rebuilt,
    skipping_all,
    timm,
    vits,
    with_a_scaler,
)


@dataclass(frozen=True)
class File:
    """A file with something unusual that is right."""

    name: str
    make: Callable[[], Any]


@dataclass(frozen=True)
class Told(File):
    """A file with one fault."""

    where: str
    found: object
    severity: str = "warning"


@dataclass(frozen=True)
class Pair:
    """What breaks a rule, and what does not although it looks like it."""

    breaks: tuple[Told, ...]
    spares: tuple[File, ...]


def swapped(optimizer: dict[str, Any]) -> Payload:
    """The optimizer of something else in a healthy file."""
    return plain() | {"optimizer": optimizer}


def put(held: Payload, *path: Any) -> Payload:
    """The payload with the last argument at a path."""
    *parents, key, value = path
    target: Any = held
    for parent in parents:
        target = target[parent]
    target[key] = value
    return held


def without(held: Payload, *keys: str) -> Payload:
    """The payload without some of its keys."""
    return {key: value for key, value in held.items() if key not in keys}


def renamed(held: Payload, **names: str) -> Payload:
    """The payload with other top-level keys."""
    return {names.get(key, key): value for key, value in held.items()}


def of_another_net() -> dict[str, Any]:
    """An optimizer of wider layers, with as many parameters."""
    layers = [nn.Linear(30, 50), nn.BatchNorm1d(50), nn.Linear(50, 2)]
    optimizer = optim.Adam([p for layer in layers for p in layer.parameters()], lr=0.01)
    for parameter in (p for layer in layers for p in layer.parameters()):
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer.state_dict()


def flattened() -> dict[str, Any]:
    """FSDP's optimizer: one long parameter."""
    state = {"step": torch.tensor(8.0), "exp_avg": torch.zeros(42), "exp_avg_sq": torch.zeros(42)}
    group = {"lr": 0.01, "betas": (0.9, 0.999), "params": [0]}
    return {"state": {0: state}, "param_groups": [group]}


def low_rank() -> dict[str, Any]:
    """GaLore's: moments in a projection."""
    held = plain()["optimizer"]
    for entry in held["state"].values():
        entry.update(exp_avg=torch.zeros(1, 2), exp_avg_sq=torch.zeros(1, 2), projector=None)
    return held


def at_its_end(**settings: Any) -> Payload:
    """A OneCycleLR that has made its last step."""
    return plain("Adam", "OneCycleLR", EPOCHS) | settings


def warmed_up(steps: int = 13, *, cycles_first: bool = False) -> Payload:
    """OneCycleLR of 9 steps after, or before, a LinearLR, where so many steps have been made."""
    held, loop = plain("Adam"), Loop("Adam")
    line = torch.optim.lr_scheduler.LinearLR(loop.optimizer, 0.1, total_iters=3)
    cycle = torch.optim.lr_scheduler.OneCycleLR(loop.optimizer, 0.1, total_steps=9)
    order, milestone = ([cycle, line], 6) if cycles_first else ([line, cycle], 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = torch.optim.lr_scheduler.SequentialLR(loop.optimizer, order, [milestone])
        for _ in range(steps):
            loop.optimizer.step()
            scheduler.step()
    for group, other in zip(held["optimizer"]["param_groups"], loop.optimizer.param_groups, strict=True):
        group.update({key: value for key, value in other.items() if key != "params"})
    return held | {"scheduler": scheduler.state_dict()}


def lagging(position: int) -> Payload:
    """A OneCycleLR, and its rate, that stand at another step than Adam and the loop."""
    held, loop = plain("Adam", "OneCycleLR"), Loop("Adam", "OneCycleLR")
    for _ in range(position):
        loop.optimizer.step()
        loop.scheduler.step()
    for group, other in zip(held["optimizer"]["param_groups"], loop.optimizer.param_groups, strict=True):
        group.update(lr=other["lr"], betas=other["betas"])
    return held | {"scheduler": loop.scheduler.state_dict()}


RATE = "optimizer.param_groups[0].lr"

CASES: dict[str, Pair] = {
    "L303": Pair(
        breaks=(
            Told(
                "optimizer and scheduler exchanged",
                lambda: renamed(plain("Adam", "StepLR"), optimizer="scheduler", scheduler="optimizer"),
                "optimizer",
                None,
            ),
        ),
        spares=(
            File("a name with both words", lambda: renamed(plain("Adam", "StepLR"), scheduler="optim_scheduler")),
            File("one name of the other's", lambda: renamed(plain("Adam", "StepLR"), scheduler="optim_2")),
        ),
    ),
    "L304": Pair(
        (
            Told(
                "under a key of its own",
                lambda: (
                    without(plain(), "model") | {"generator": {f"module.{k}": v for k, v in plain()["model"].items()}}
                ),
                "generator",
                "module.",
                "info",
            ),
        ),
        (File("one key without it", averaged),),
    ),
    "P409": Pair(
        (
            Told(
                "a schedule that lags",
                lambda: lagging(2 * STEPS - 3),
                "scheduler.last_epoch",
                2 * STEPS - 3,
            ),
        ),
        (
            File("saved before the schedule's step", lambda: plain("Adam", "OneCycleLR", before_the_schedule=True)),
            File("once in two steps", lambda: lagging(STEPS)),
            File("begun after a warm-up", rebuilt),
            File("of another class with a length", lambda: put(rebuilt(), "scheduler", "total_steps", 100)),
            File("a step that was skipped", with_a_scaler),
            File("two optimizers", gan),
            File("a count of micro-batches", lambda: plain("Adam", "OneCycleLR") | {"global_step": 4 * STEPS}),
            File(
                "a second cycle",
                lambda: put(lagging(2 * STEPS - 3), "scheduler", "total_steps", 2 * STEPS - 2),
            ),
        ),
    ),
    "R503": Pair(
        (
            Told(
                "fewer steps than its position",
                lambda: put(plain("Adam", "StepLR", 3), "scheduler", "_step_count", 2),
                "scheduler._step_count",
                2,
                "info",
            ),
        ),
        (
            File("warm restarts never count", lambda: plain("Adam", "warm restarts", 3)),
            File("a plateau has no count", lambda: plain("Adam", "plateau", 3)),
            File("nested ones", lambda: plain("Adam", "warm-up, then cosine", 3)),
            File(
                "steps that were asked for twice", lambda: put(plain("Adam", "StepLR"), "scheduler", "_step_count", 9)
            ),
        ),
    ),
    "R504": Pair(
        (
            Told(
                "back at the start",
                lambda: put(plain("Adam", "CosineAnnealingLR"), "optimizer", "param_groups", 0, "lr", 0.5),
                RATE,
                0.5,
            ),
            Told(
                "in lists",
                lambda: nested(
                    put(
                        put(gan(), "optimizers", 0, "param_groups", 0, "lr", 0.5),
                        "optimizers",
                        1,
                        "param_groups",
                        0,
                        "lr",
                        0.5,
                    )
                ),
                "trainer.state.optimizers[0].param_groups[0].lr",
                0.5,
            ),
        ),
        (
            File("one pair of two fits", lambda: put(gan(), "optimizers", 0, "param_groups", 0, "lr", 0.5)),
            File("a plateau", lambda: put(plain("Adam", "plateau"), "optimizer", "param_groups", 0, "lr", 0.5)),
            File("a rate in a tensor", lambda: plain("a rate in a tensor", "ExponentialLR")),
            File(
                "a group that joined later",
                lambda: put(put(plain("Adam", "StepLR"), "scheduler", "_last_lr", [0.1, 0.1]), "epoch", 2),
            ),
            File("set by hand, no scheduler", by_hand),
        ),
    ),
    "R508": Pair(
        (
            Told(
                "a rate that has moved",
                lambda: without(plain("Adam", "CosineAnnealingLR", 3), "scheduler"),
                RATE,
                plain("Adam", "CosineAnnealingLR", 3)["optimizer"]["param_groups"][0]["lr"],
            ),
            Told(
                "an empty list of schedulers",
                lambda: without(plain("SGD", "ExponentialLR"), "scheduler") | {"lr_schedulers": []},
                RATE,
                plain("SGD", "ExponentialLR")["optimizer"]["param_groups"][0]["lr"],
            ),
        ),
        (
            File("a rate that stayed", lambda: without(plain("Adam", "StepLR", 1), "scheduler")),
            File("computed from the epoch", timm),
            File("built at its position", vits),
            File("the optimizer alone", lambda: plain("Adam", "CosineAnnealingLR", 3)["optimizer"]),
            File(
                "a position of another form",
                lambda: (
                    without(plain("Adam", "CosineAnnealingLR", 3), "scheduler")
                    | {"lr_scheduler": {"last_batch_iteration": 12}}
                ),
            ),
            File(
                "a position of its own",
                lambda: without(plain("Adam", "CosineAnnealingLR", 3), "scheduler") | {"last_epoch": 3},
            ),
            File("set by hand", by_hand),
        ),
    ),
    "R511": Pair(
        (
            Told("OneCycleLR", at_its_end, "scheduler.last_epoch", EPOCHS * STEPS),
            Told(
                "OneCycleLR of a run that is over",
                lambda: at_its_end(args={"epochs": EPOCHS}),
                "scheduler.last_epoch",
                EPOCHS * STEPS,
                "info",
            ),
            Told("OneCycleLR after a warm-up", warmed_up, "scheduler._schedulers[1].last_epoch", 9),
            Told(
                "beyond the minimum",
                lambda: plain("Adam", "CosineAnnealingLR", EPOCHS + 1),
                "scheduler.last_epoch",
                EPOCHS + 1,
                "info",
            ),
        ),
        (
            File("one step is left", lambda: plain("Adam", "OneCycleLR", EPOCHS, before_the_schedule=True)),
            File("at the minimum", lambda: plain("Adam", "CosineAnnealingLR", EPOCHS)),
            File("a step is left after the warm-up", lambda: warmed_up(12)),
            File("the warm-up's own end", lambda: warmed_up(6, cycles_first=True)),
        ),
    ),
    "E611": Pair(
        (Told("None at epoch 2", lambda: plain() | {"best_acc1": None}, "best_acc1", None, "info"),),
        (
            File("known", lambda: plain() | {"best_acc1": torch.tensor(0.5)}),
            File("before the first validation", lambda: Loop().payload(0) | {"best_acc1": None}),
            File("none is kept", plain),
        ),
    ),
    "O701": Pair(
        (
            Told(
                "of another net",
                lambda: swapped(of_another_net()),
                "optimizer.state[0]",
                [50, 30],
            ),
        ),
        (
            File("a head that is saved elsewhere", head_elsewhere),
            File("flattened", lambda: swapped(flattened())),
            File("low-rank", lambda: swapped(low_rank())),
            File("factored", lambda: plain("Adafactor")),
            File(
                "two models",
                lambda: (
                    swapped(of_another_net())
                    | {"teacher_head": {"w": torch.ones(2, 2)}, "net2": {"w": torch.ones(3, 3)}}
                ),
            ),
        ),
    ),
    "O702": Pair(
        (Told("frozen ones", lambda: plain("AdamW", frozen=True), "optimizer.state", 4, "info"),),
        (
            File("LBFGS keeps all in one", lambda: plain("LBFGS")),
            File("SGD keeps nothing", lambda: plain("SGD")),
        ),
    ),
    "O705": Pair(
        (
            Told("Adam", lambda: put(plain(), "optimizer", "state", {}), "optimizer.state", 0),
            Told(
                "SGD with momentum, in a list",
                lambda: {
                    "model": plain()["model"],
                    "epoch": 1,
                    "optimizers": [Loop("SGD with momentum").payload(0)["optimizer"]],
                },
                "optimizers[0].state",
                0,
            ),
            Told("one of two", late_generator, "optimizer_G.state", 0, "info"),
            Told(
                "SAM",
                lambda: put(plain(), "optimizer", "state", {0: {"old_p": torch.ones(2)}}),
                "optimizer.state",
                None,
            ),
            Told(
                "in a run with a scaler",
                lambda: put(with_a_scaler(), "optimizer", "state", {}),
                "optimizer.state",
                0,
            ),
        ),
        (
            File("before the first step", lambda: Loop("AdamW", "StepLR").payload(0)),
            File("SGD needs none", lambda: plain("SGD")),
            File("every step was skipped", skipping_all),
            File(
                "averages of 8 bits, under names of their own",
                lambda: put(
                    plain(), "optimizer", "state", {0: {"step": 4, "state1": torch.ones(2, dtype=torch.uint8)}}
                ),
            ),
            File(
                "a setting called epoch",
                lambda: nested(without(Loop().payload(0), "epoch")) | {"trainer": Loop().payload(0)},
            ),
        ),
    ),
    "O706": Pair(
        (Told("nanoGPT's config", lambda: plain() | {"config": {"dtype": "float16"}}, "scaler", None, "info"),),
        (
            File("bfloat16", lambda: of_half_precision(torch.bfloat16)),
            File("a scaler is there", with_a_scaler),
            File("apex's own", lambda: plain() | {"args": {"fp16": True}, "amp": {"loss_scaler0": {}, "x": 1}}),
            File("weights alone", lambda: {"state_dict": plain()["model"], "config": {"dtype": "float16"}}),
        ),
    ),
    "O707": Pair(
        (
            Told(
                "a rate that is NaN",
                lambda: put(plain(), "optimizer", "param_groups", 0, "lr", float("nan")),
                RATE,
                "float nan",
                "error",
            ),
            Told(
                "a beta of 1, in a list",
                lambda: put(gan(), "optimizers", 1, "param_groups", 0, "betas", (0.9, 1.0)),
                "optimizers[1].param_groups[0].betas[1]",
                "float 1.0",
                "error",
            ),
            Told(
                "a position before the start",
                lambda: renamed(put(plain("SGD", "StepLR"), "scheduler", "last_epoch", -7), scheduler="lr_sched"),
                "lr_sched.last_epoch",
                "int -7",
                "error",
            ),
            Told(
                "a scale of 0",
                lambda: put(with_a_scaler(), "scaler", "scale", 0.0),
                "scaler.scale",
                "float 0.0",
                "error",
            ),
        ),
        (
            File("rounded below 0", lambda: put(plain(), "optimizer", "param_groups", 0, "lr", -1e-18)),
            File("a position within an epoch", lambda: put(plain("Adam", "StepLR"), "scheduler", "last_epoch", 1.5)),
            File("a beta of 0", lambda: put(plain(), "optimizer", "param_groups", 0, "betas", (0.0, 0.99))),
            File(
                "a flag that only others know", lambda: put(plain(), "optimizer", "param_groups", 0, "momentum", None)
            ),
            File(
                "moments of 8 bits",
                lambda: put(plain(), "optimizer", "state", 0, "exp_avg", torch.zeros(5, 3, dtype=torch.uint8)),
            ),
        ),
    ),
}
