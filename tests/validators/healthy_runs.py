"""Small runs with nothing wrong, as real torch objects in memory, to be spoiled in one place and written to disk.

    run = healthy("TST")                                  # {"checkpoint": {...}, "checkpoint_step_15": {...}, ...}
    run["checkpoint_step_25"]["epoch"] = 0                # one fault
    report = scan([write(run, tmp_path)])

A snapshot is taken where an uninterrupted run goes on: behind the scheduler's step, EarlyStopping's update and the
epoch's new rate, with the random state of the epoch's beginning in a step file. (The
trainer saves before these; that its own files are wrong there is what some of the rules say.)
"""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

Payload = dict[str, Any]
Run = dict[str, Payload]

FOLDER = "long_term_forecast_ETTh1_24_8_TimeLLM_ETTh1_ftM_sl24_Exp_0-small"
STEPS, EPOCHS, RATE = 10, 5, 0.01
INITIAL = RATE / 25
"""Where OneCycleLR begins (`div_factor`)."""
LOSSES = (0.5, 0.4, 0.3, 0.2, 0.1)
"""Validation losses of the epochs."""


class Model(nn.Module):
    """Named as TimeLLM's parts are, with a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("llm_model", "patch_embedding", "reprogramming_layer", "mapping_layer", "output_projection"):
            self.add_module(name, nn.Linear(3, 3))
        self.llm_model.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = torch.tanh(layer(x))
        return x


def _rate_after(mode: str, epoch: int, base: float) -> float:
    """`adjust_learning_rate(epoch)` of utils/tools.py, for the modes that are used here."""
    return {"type1": base * 0.5 ** (epoch - 1), "PEMS": base * 0.95**epoch, "constant": base}[mode]


@functools.cache
def _trained(mode: str, generation: str, losses: tuple[float, ...], saved_at: tuple[int, ...], steps: int) -> Run:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = Model()
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=RATE)
        scheduler = scheduler_of(mode, optimizer, steps)
        base = optimizer.param_groups[0]["lr"]
        run: Run = {}
        best, counter, step = None, 0, 0

        def snapshot(epoch: int, epoch_began: torch.Tensor | None = None) -> Payload:
            payload = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "epoch": epoch,
                "global_step": step,
            }
            if generation == "complete":
                payload |= {
                    "best_score": best,
                    "val_loss_min": float("inf") if best is None else -best,
                    "counter": counter,
                    "rng_state": {
                        "python": random.Random(7).getstate(),
                        "numpy": ("MT19937", np.random.RandomState(7).get_state()[1].tolist(), 624, 0, 0.0),
                        "torch": torch.get_rng_state(),
                        "cuda": None,
                    },
                    "sampler_state": None,
                }
                if epoch_began is not None:
                    payload["rng_state"]["torch"] = epoch_began
                    payload["rng_state_at"] = "epoch-begin"
            return copy.deepcopy(payload)

        for epoch in range(EPOCHS):
            began = torch.get_rng_state()
            for _ in range(steps):
                optimizer.zero_grad()
                model(torch.randn(4, 3)).square().mean().backward()
                optimizer.step()
                step += 1
                if mode == "TST":
                    scheduler.step()
                if step in saved_at:
                    run[f"checkpoint_step_{step}"] = snapshot(epoch, began)
                if step == saved_at[-1]:
                    return run
            improved = best is None or -losses[epoch] >= best
            best, counter = (-losses[epoch], 0) if improved else (best, counter + 1)
            if mode == "COS":
                scheduler.step()
            elif mode != "TST":
                optimizer.param_groups[0]["lr"] = _rate_after(mode, epoch + 1, base)
            if improved:
                run["checkpoint"] = snapshot(epoch + 1)
    return run


def scheduler_of(mode: str, optimizer: torch.optim.Optimizer, steps: int = STEPS) -> Any:
    """The scheduler that the trainer builds."""
    if mode == "COS":
        return CosineAnnealingLR(optimizer, T_max=20, eta_min=1e-8)
    return OneCycleLR(optimizer, max_lr=RATE, steps_per_epoch=steps, epochs=EPOCHS, pct_start=0.2)


def healthy(
    mode: str = "TST",
    generation: str = "complete",
    losses: tuple[float, ...] = LOSSES,
    saved_at: tuple[int, ...] = (5, 15, 25),
    steps: int = STEPS,
) -> Run:
    """A fresh copy of a run: its best checkpoint and its step checkpoints, by name.

    It was interrupted after the last step of `saved_at`, and ran to its end where that lies beyond it."""
    run = _trained(mode, generation, losses, saved_at, steps)
    copied: dict[int, Any] = {}  # thousands of numbers that deepcopy would visit one by one
    for payload in run.values():
        if state := payload.get("rng_state"):
            copied |= {id(state["python"]): state["python"], id(state["numpy"][1]): list(state["numpy"][1])}
    return copy.deepcopy(run, copied)


def write(run: Mapping[str, Any], root: Path) -> Path:
    """Save a run's files where the trainer would; returns the run folder."""
    folder = root / "checkpoints" / FOLDER
    for name, payload in run.items():
        path = place(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(payload, path)
    return folder


def place(folder: Path, name: str) -> Path:
    """The file of a checkpoint that is known by its name in the run."""
    return folder / name / "checkpoint.pt" if name.startswith("checkpoint_step_") else folder / name
