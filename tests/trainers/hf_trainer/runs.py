"""Runs of the Hugging Face Trainer, written with torch alone in the library's exact form (transformers 5.24)."""

from __future__ import annotations

import json
import random
import shutil
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_file

from ckpt_doctor import audit, facts
from ckpt_doctor.types import FileReport

RATE, TOTAL, LENGTH = 0.01, 40, 10
"""Linear from the rate to 0 in 40 steps: 4 epochs of 10."""
ARGUMENTS: dict[str, Any] = {
    "num_train_epochs": 4,
    "max_steps": -1,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "learning_rate": RATE,
    "lr_scheduler_kwargs": {},
    "warmup_steps": 0,
    "optim": "adamw_torch_fused",
    "metric_for_best_model": None,
    "greater_is_better": None,
    "restore_callback_states_from_checkpoint": False,
    "save_only_model": False,
    "ignore_data_skip": False,
    "fp16": False,
    "eval_strategy": "no",
    "save_strategy": "steps",
    "hub_token": "hf_secret",
}

BEST = {"metric_for_best_model": "loss", "eval_strategy": "steps"}
RESTORED = "restore_callback_states_from_checkpoint"
LOSSES = {5: 3.0, 10: 1.0, 15: 1.5, 20: 1.2}
"""Step -> eval_loss; the best is that of step 10."""


def linear(step: int) -> float:
    """transformers' formula without warm-up."""
    return max(0.0, float(TOTAL - step) / float(max(1, TOTAL)))


@dataclass
class Writer:
    """A run that is written step by step."""

    folder: Path
    arguments: dict[str, Any] = field(default_factory=dict)
    evaluations: dict[int, float] = field(default_factory=dict)
    """Step -> eval_loss."""
    patience: int = 0
    accumulation: int = 1

    def write(self, *steps: int) -> Path:
        """A checkpoint at each of these steps; the run folder."""
        parameters = [torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(3))]
        groups: list[dict[str, Any]] = [{"params": parameters[:1], "weight_decay": 0.1}, {"params": parameters[1:]}]
        optimizer = torch.optim.AdamW(groups, lr=RATE)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(linear))
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, 0.1)
        for step in range(1, max(steps) + 1):
            optimizer.step()
            scheduler.step()
            if step in steps:
                self._save(step, optimizer, scheduler, parameters)
        return self.folder

    def _save(self, step: int, optimizer: Any, scheduler: Any, parameters: list[Any]) -> None:
        folder = self.folder / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        save_file({"a.weight": parameters[0].data, "a.bias": parameters[1].data}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"transformers_version": "5.24.0"}))
        torch.save(optimizer.state_dict(), folder / "optimizer.pt")
        torch.save(scheduler.state_dict(), folder / "scheduler.pt")
        torch.save(random_states(), folder / "rng_state.pth")
        save_arguments(folder, {**ARGUMENTS, **self.arguments})
        (folder / "trainer_state.json").write_text(json.dumps(self.state(step), indent=2, sort_keys=True))

    def state(self, step: int) -> dict[str, Any]:
        """`trainer_state.json` at a step."""
        log: list[dict[str, Any]] = []
        best, at, waited = None, None, 0
        for done in range(1, step + 1):
            log.append({"epoch": done / LENGTH, "learning_rate": RATE * linear(done - 1), "loss": 1.0, "step": done})
            if (loss := self.evaluations.get(done)) is not None:
                log.append({"epoch": done / LENGTH, "eval_loss": loss, "step": done})
                waited = 0 if best is None or loss < best else waited + 1
                if best is None or loss < best:
                    best, at = loss, done
        keeps = self.arguments.get("metric_for_best_model")
        control = {"args": {"should_training_stop": False}, "attributes": {}}
        callbacks: dict[str, Any] = {"TrainerControl": control}
        if self.patience:
            callbacks["EarlyStoppingCallback"] = {
                "args": {"early_stopping_patience": self.patience, "early_stopping_threshold": 0.0},
                "attributes": {"early_stopping_patience_counter": waited},
            }
        return {
            "best_global_step": at if keeps else None,
            "best_metric": best if keeps else None,
            "best_model_checkpoint": f"{self.folder.name}/checkpoint-{at}" if keeps and at else None,
            "epoch": step / LENGTH,
            "eval_steps": 5,
            "global_step": step,
            "log_history": log,
            "max_steps": TOTAL,
            "num_train_epochs": 4,
            "stateful_callbacks": callbacks,
            "total_flos": 100.0 * step,
            "train_batch_size": 4,
        }


def random_states() -> dict[str, Any]:
    """What `_save_rng_state` puts together."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
        "cuda": torch.zeros(16, dtype=torch.uint8),
    }


def save_arguments(folder: Path, values: dict[str, Any]) -> None:
    """`training_args.bin`: an instance of a class that is not installed here."""
    module = types.ModuleType("transformers.training_args")
    enums = types.ModuleType("transformers.trainer_utils")
    made = type("TrainingArguments", (), {"__module__": module.__name__})
    import enum

    kind = enum.Enum("SchedulerType", {"LINEAR": "linear"}, module=enums.__name__)
    module.TrainingArguments, enums.SchedulerType = made, kind  # type: ignore[attr-defined]
    arguments = made()
    vars(arguments).update({**values, "lr_scheduler_type": kind("linear")})
    packages = {"transformers": types.ModuleType("transformers"), module.__name__: module, enums.__name__: enums}
    with mock.patch.dict(sys.modules, packages):
        torch.save(arguments, folder / "training_args.bin")


def change_state(folder: Path, **values: Any) -> None:
    """Other values in `trainer_state.json`."""
    path = folder / "trainer_state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}, indent=2))


def two_processes(folder: Path) -> None:
    """The random states of two processes in the place of one."""
    (folder / "rng_state.pth").unlink()
    for rank in range(2):
        torch.save(
            {**random_states(), "cuda": [torch.zeros(16, dtype=torch.uint8)] * 2}, folder / f"rng_state_{rank}.pth"
        )


def remove(*names: str) -> Callable[[Path], None]:
    """What takes these parts from a checkpoint."""

    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


def told(file: FileReport, least: str = "warning") -> set[str]:
    """Codes of the findings, notes left out unless asked for."""
    return {f.code for f in file.findings if f.severity != "info" or least == "info"}


def judged(folder: Path, **given: Any) -> FileReport:
    """What `check` says of a checkpoint."""
    return audit.check(folder, facts=facts(**given)).files[0]


def adam_from_before(folder: Path) -> None:
    """The optimizer of checkpoint-14 in the place of this one's."""
    shutil.copy(folder.parent / "checkpoint-14/optimizer.pt", folder / "optimizer.pt")
