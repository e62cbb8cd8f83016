"""Runs in Lightning's exact form, without Lightning: what ModelCheckpoint writes at the end of each epoch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ckpt_doctor import audit, repair
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.types import FileReport, Finding

BATCHES = 10
MONITOR = "ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1}"
STOPPER = "EarlyStopping{'monitor': 'val_loss', 'mode': 'min'}"
LOSSES = (4.0, 2.0, 3.0, 1.0, 2.5, 0.5)
AUTOMATIC = "epoch_loop.automatic_optimization.optim_progress"
FIT = ("loops", "fit_loop")
BATCH = (*FIT, "epoch_loop.batch_progress")
Value = dict[str, Any]
Schedule = Callable[[torch.optim.Optimizer], Any]


def one_cycle(optimizer: torch.optim.Optimizer, steps: int = 60) -> Any:
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)


def plateau(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)


class Run:
    """A training, epoch by epoch; each file as ModelCheckpoint(monitor="val_loss", save_top_k=-1) has it."""

    def __init__(self, folder: Path, schedule: Schedule = one_cycle, optimizer: Any = torch.optim.AdamW) -> None:
        self.folder = folder
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 2)
        self.optimizer = optimizer(self.model.parameters(), lr=0.01)
        self.scheduler = schedule(self.optimizer)
        self.steps = self.schedule_steps = 0
        self.kept: dict[str, torch.Tensor] = {}
        self.best, self.waited = torch.tensor(float("inf")), 0

    def batch(self) -> None:
        self.optimizer.zero_grad()
        self.model(torch.ones(1, 3)).sum().backward()
        self.optimizer.step()
        self.steps += 1
        if not isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step()
            self.schedule_steps += 1

    def epoch(self, loss: float) -> Value:
        """Train an epoch and return its file, saved before the plateau's step."""
        for _ in range(BATCHES):
            self.batch()
        score, number = torch.tensor(loss), self.steps // BATCHES
        self.best, self.waited = (score, 0) if score < self.best else (self.best, self.waited + 1)
        path = str(self.folder / f"epoch={number - 1}-step={self.steps}.ckpt")
        self.kept[path] = score
        value = copy.deepcopy(self.value(number, BATCHES, score))
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(score)
            self.schedule_steps += 1
        return value

    def value(self, entered: int, batches: int, score: torch.Tensor | None = None) -> Value:
        """The file as it is after that many batches of its epoch."""
        at_end = batches == BATCHES
        lowest = min(self.kept, key=lambda path: float(self.kept[path]), default="")
        worst = max(self.kept, key=lambda path: float(self.kept[path]), default="")
        return {
            "epoch": entered - 1,
            "global_step": self.steps,
            "pytorch-lightning_version": "2.6.6",
            "state_dict": {f"net.{name}": value for name, value in self.model.state_dict().items()},
            "loops": {"fit_loop": loops(self.steps, self.schedule_steps, entered, batches, at_end)},
            "callbacks": {
                STOPPER: {
                    "wait_count": self.waited,
                    "stopped_epoch": 0,
                    "best_score": self.best,
                    "patience": 5,
                    "stopping_reason": 0,
                    "stopping_reason_message": None,
                },
                MONITOR: {
                    "monitor": "val_loss",
                    "best_model_score": self.kept.get(lowest),
                    "best_model_path": lowest,
                    "current_score": score,
                    "dirpath": str(self.folder),
                    "best_k_models": dict(self.kept),
                    "kth_best_model_path": worst,
                    "kth_value": self.kept.get(worst, torch.tensor(float("inf"))),
                    "last_model_path": "",
                },
            },
            "optimizer_states": [self.optimizer.state_dict()],
            "lr_schedulers": [self.scheduler.state_dict()],
            "hparams_name": "kwargs",
            "hyper_parameters": {"lr": 0.01},
        }


def loops(steps: int, schedule: int, entered: int, batches: int, at_end: bool) -> Value:
    """`loops.fit_loop` of automatic optimization."""

    def counts(total: int, current: int) -> Value:
        return {
            key: dict.fromkeys(("ready", "completed", "started", "processed"), number)
            for key, number in (("total", total), ("current", current))
        }

    epoch = counts(entered, entered)
    for one in epoch.values():
        one["completed"] = entered - 1
        one["processed"] = entered if at_end else entered - 1
    step = counts(steps, batches)
    return {
        "state_dict": {},
        "epoch_loop.state_dict": {"_batches_that_stepped": steps},
        "epoch_loop.batch_progress": {**counts(steps, batches), "is_last_batch": at_end},
        "epoch_loop.scheduler_progress": counts(schedule, min(schedule, batches)),
        AUTOMATIC: {"optimizer": {"step": step, "zero_grad": step}},
        "epoch_loop.manual_optimization.optim_step_progress": counts(0, 0),
        "epoch_progress": epoch,
    }


def write(folder: Path, epochs: int = 3, losses: Sequence[float] = LOSSES, **options: Any) -> list[Path]:
    """The files of a run of some epochs, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    run, paths = Run(folder, **options), []
    for loss in losses[:epochs]:
        value = run.epoch(loss)
        paths.append(folder / f"epoch={value['epoch']}-step={value['global_step']}.ckpt")
        torch.save(value, paths[-1])
    return paths


def within_epoch(folder: Path, batches: int) -> Path:
    """One more file of a run of one epoch, saved within the second."""
    write(folder, 1)
    run = Run(folder)
    run.epoch(LOSSES[0])
    for _ in range(batches):
        run.batch()
    path = folder / f"step={run.steps}.ckpt"
    torch.save(run.value(2, batches, torch.tensor(LOSSES[0])), path)
    return path


def change(path: Path, **top: Any) -> Value:
    """Rewrite a file with other values at its top; `...` takes a key away."""
    value: Value = torch.load(path, weights_only=False)
    value |= top
    value = {key: held for key, held in value.items() if held is not ...}
    torch.save(value, path)
    return value


def put(path: Path, keys: Sequence[Any], new: Any) -> None:
    """Rewrite a file with another value at one place."""
    value = torch.load(path, weights_only=False)
    held: Any = value
    for key in keys[:-1]:
        held = held[key]
    held[keys[-1]] = new
    torch.save(value, path)


def late(path: Path, by: int = 1) -> None:
    """Set the schedule back, as if its last steps were missing."""
    run = Run(path.parent)
    for _ in range(int(path.stem.split("=")[-1]) - by):
        run.batch()
    value = torch.load(path, weights_only=False)
    value["lr_schedulers"] = [run.scheduler.state_dict()]
    for key in ("lr", "betas"):
        value["optimizer_states"][0]["param_groups"][0][key] = run.optimizer.param_groups[0][key]
    torch.save(value, path)


def judged(path: Path, **given: object) -> FileReport:
    """What `check` says of a file."""
    return audit.check(path, facts=facts(**given)).files[0]


def said(report: FileReport) -> dict[str, Finding]:
    """Findings above info, by code."""
    return {finding.code: finding for finding in report.findings if finding.severity != "info"}


def cured(path: Path) -> FileReport:
    """The file after all repairs that its findings call for."""
    (result,) = repair.migrate([path])
    assert result.status == "migrated", (result.message, result.refusals)
    return judged(path, shuffle=False)


def two(folder: Path, epochs: int = 5, schedules: bool = True) -> list[Path]:
    """A run whose files have a second optimizer and a second schedule, which goes by epochs."""
    paths = write(folder, epochs)
    for epoch, path in enumerate(paths, 1):
        value = torch.load(path, weights_only=False)
        optimizer = {"state": {0: {"step": torch.tensor(5.0 * epoch)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
        put(path, ["optimizer_states"], [*value["optimizer_states"], optimizer])
        if schedules:
            second = {"gamma": 0.9, "base_lrs": [0.1], "last_epoch": epoch, "_step_count": epoch + 1, "_last_lr": [0.1]}
            put(path, ["lr_schedulers"], [*value["lr_schedulers"], second])
            counted = value["loops"]["fit_loop"]["epoch_loop.scheduler_progress"]["total"]["completed"] + epoch
            put(path, [*FIT, "epoch_loop.scheduler_progress", "total", "completed"], counted)
    return paths


def serious_in(folder: Path) -> dict[str, list[Any]]:
    """Of each file with findings above info their codes and places."""
    report = audit.scan(folder, facts=facts(shuffle=False))
    return {
        file.checkpoint.path.name: [(f.code, f.where) for f in file.serious] for file in report.files if file.serious
    }
