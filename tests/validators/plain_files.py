"""Checkpoints of plain loops, which no trainer owns, made with torch's own optimizers and schedulers.

payload = plain(optimizer="SGD with momentum", schedule="StepLR", epochs=2)
payload["optimizer"]["param_groups"][0]["lr"] = 0.5        # one fault
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn, optim
from torch.optim import lr_scheduler as sched

Payload = dict[str, Any]
Params = list[nn.Parameter]
STEPS = 4
"""Optimizer steps in an epoch."""
EPOCHS = 5
"""Of the whole training."""

OPTIMIZERS: Mapping[str, Callable[[Params], optim.Optimizer]] = {
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01),
    "Adam with amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "fused AdamW": lambda p: optim.AdamW(p, lr=0.01, fused=True),
    "a rate in a tensor": lambda p: optim.AdamW(p, lr=torch.tensor(0.01)),
    "NAdam": lambda p: optim.NAdam(p, lr=0.01),
    "RAdam": lambda p: optim.RAdam(p, lr=0.01),
    "Adafactor": lambda p: optim.Adafactor(p, lr=0.01),
    "SGD": lambda p: optim.SGD(p, lr=0.01),
    "SGD with momentum": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=1e-4),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01),
    "Adagrad": lambda p: optim.Adagrad(p, lr=0.01),
    "LBFGS": lambda p: optim.LBFGS(p, lr=0.01, max_iter=2),
    "Muon": lambda p: optim.Muon([q for q in p if q.dim() == 2], lr=0.01),
    "groups with their own rates": lambda p: optim.AdamW(
        [{"params": p[:2], "lr": 0.001}, {"params": p[2:], "weight_decay": 0.0}], lr=0.01
    ),
}


def per_step(make: Callable[[optim.Optimizer], Any]) -> Callable[[optim.Optimizer], Any]:
    """A schedule that is stepped with every batch."""
    make.per_step = True  # type: ignore[attr-defined]
    return make


SCHEDULES: Mapping[str, Callable[[optim.Optimizer], Any]] = {
    "StepLR": lambda o: sched.StepLR(o, 2),
    "MultiStepLR": lambda o: sched.MultiStepLR(o, [1, 3]),
    "ExponentialLR": lambda o: sched.ExponentialLR(o, 0.9),
    "LambdaLR": lambda o: sched.LambdaLR(o, lambda step: 0.9**step),
    "MultiplicativeLR": lambda o: sched.MultiplicativeLR(o, lambda step: 0.9),
    "ConstantLR": lambda o: sched.ConstantLR(o, total_iters=2),
    "LinearLR to nothing": lambda o: sched.LinearLR(o, 1.0, 0.0, total_iters=3),
    "PolynomialLR": lambda o: sched.PolynomialLR(o, total_iters=EPOCHS),
    "CosineAnnealingLR": lambda o: sched.CosineAnnealingLR(o, EPOCHS),
    "warm restarts": lambda o: sched.CosineAnnealingWarmRestarts(o, 2),
    "OneCycleLR": per_step(
        lambda o: sched.OneCycleLR(o, 0.1, total_steps=EPOCHS * STEPS, cycle_momentum="betas" in o.defaults)
    ),
    "CyclicLR": per_step(lambda o: sched.CyclicLR(o, 1e-3, 1e-2, 3, cycle_momentum=False)),
    "LambdaLR by step": per_step(lambda o: sched.LambdaLR(o, lambda step: min(1.0, step / 6))),
    "plateau": lambda o: sched.ReduceLROnPlateau(o, patience=0),
    "warm-up, then cosine": lambda o: sched.SequentialLR(
        o, [sched.LinearLR(o, 0.1, total_iters=2), sched.CosineAnnealingLR(o, 3)], [2]
    ),
    "chained": lambda o: sched.ChainedScheduler([sched.ConstantLR(o, total_iters=2), sched.ExponentialLR(o, 0.9)], o),
}


class Net(nn.Module):
    """Two layers, a scale and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 2)
        self.scale, self.shift = nn.Parameter(torch.ones(5)), nn.Parameter(torch.zeros(5))
        self.register_buffer("mean", torch.zeros(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.scale * (self.first(x) - self.mean) + self.shift))


class Loop:
    """A loop in the middle of its training: one network with its optimizer and, where there is one, its scheduler."""

    def __init__(self, optimizer: str = "Adam", schedule: str = "", accumulate: int = 1, frozen: bool = False) -> None:
        torch.manual_seed(7)
        self.model = Net()
        if frozen:
            self.model.first.requires_grad_(False)
        self.optimizer = OPTIMIZERS[optimizer](list(self.model.parameters()))
        make = SCHEDULES.get(schedule)
        self.scheduler = make(self.optimizer) if make else None
        self.by_step = getattr(make, "per_step", False)
        self.accumulate, self.step = accumulate, 0

    def _loss(self) -> torch.Tensor:
        self.optimizer.zero_grad()
        loss: torch.Tensor = sum(self.model(torch.randn(4, 3)).square().mean() for _ in range(self.accumulate))
        loss.backward()
        return loss

    def run(self, epochs: int, *, before_the_schedule: bool = False) -> Loop:
        """Train so many epochs; the last without its scheduler's step, where the checkpoint is saved before it."""
        for epoch in range(epochs):
            for _ in range(STEPS):
                self.optimizer.step(self._loss)
                self.step += 1
                last = epoch == epochs - 1 and self.step % STEPS == 0
                if self.scheduler and self.by_step and not (last and before_the_schedule):
                    self.scheduler.step()
            if self.scheduler and not self.by_step and not (before_the_schedule and epoch == epochs - 1):
                self.scheduler.step(*([0.5] if isinstance(self.scheduler, sched.ReduceLROnPlateau) else []))
        return self

    def payload(self, epoch: int) -> Payload:
        """The state as a plain loop saves it."""
        held = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": epoch}
        if self.scheduler:
            held["scheduler"] = self.scheduler.state_dict()
        return copy.deepcopy(held | {"global_step": self.step})


@functools.cache
def _trained(optimizer: str, schedule: str, epochs: int, before: bool, accumulate: int, frozen: bool) -> Payload:
    loop = Loop(optimizer, schedule, accumulate, frozen)
    return loop.run(epochs, before_the_schedule=before).payload(epochs)


def plain(
    optimizer: str = "Adam",
    schedule: str = "",
    epochs: int = 2,
    *,
    before_the_schedule: bool = False,
    accumulate: int = 1,
    frozen: bool = False,
) -> Payload:
    """A checkpoint at the end of so many epochs; a fresh copy each time."""
    return copy.deepcopy(_trained(optimizer, schedule, epochs, before_the_schedule, accumulate, frozen))


# --- what else a healthy file may be ---------------------------------------------------------------------------------


def gan() -> Payload:
    """Two networks, of which one is trained more often, each with its schedule."""
    generator, critic = Loop("Adam", "StepLR").run(1), Loop("Adam", "StepLR").run(3)
    return {
        "G": generator.payload(1)["model"],
        "D": critic.payload(1)["model"],
        "optimizers": [generator.optimizer.state_dict(), critic.optimizer.state_dict()],
        "schedulers": [generator.scheduler.state_dict(), critic.scheduler.state_dict()],
        "epoch": 3,
        "iteration": 12,
    }


def late_generator() -> Payload:
    """A generator that waits until its critic has learnt something."""
    waiting, critic = Loop().payload(0), plain()
    return {**critic, "generator": waiting["model"], "optimizer_G": waiting["optimizer"]}


def averaged() -> Payload:
    """With a copy of the model that is averaged, and one more count of its own."""
    held = plain("AdamW", "CosineAnnealingLR")
    copies = {f"module.{key}": value.clone() for key, value in held["model"].items()} | {"n_averaged": torch.tensor(3)}
    return held | {"ema": {"decay": 0.99, "num_updates": 7, "shadow": held["model"]}, "swa_model": copies}


def by_hand(optimizer: str = "SGD with momentum") -> Payload:
    """The rate is set by the loop itself, and no scheduler was ever built."""
    held = plain(optimizer)
    held["optimizer"]["param_groups"][0]["lr"] = 0.00123
    return held


def of_half_precision(dtype: torch.dtype) -> Payload:
    """Weights and moments in a narrow type."""
    held = plain("AdamW", "StepLR")
    for key, value in held["model"].items():
        held["model"][key] = value.to(dtype) if value.is_floating_point() else value
    for entry in held["optimizer"]["state"].values():
        entry.update({name: entry[name].to(dtype) for name in ("exp_avg", "exp_avg_sq")})
    return held | {"args": {"dtype": "bfloat16", "epochs": EPOCHS}}


def with_a_scaler() -> Payload:
    """float16 with a GradScaler that skipped two of the optimizer's steps, not the scheduler's."""
    held = plain("Adam", "OneCycleLR")
    for entry in held["optimizer"]["state"].values():
        entry["step"] -= 2
    scaler = {
        "scale": 16384.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": 6,
    }
    return held | {"scaler": scaler, "args": {"fp16": True}}


def skipping_all() -> Payload:
    """The scaler's first scale was too large for every step so far."""
    held = with_a_scaler()
    held["scaler"]["_growth_tracker"] = 0
    held["optimizer"]["state"] = {}
    return held


def nested(inside: Payload, epoch: int = 2) -> Payload:
    """Two levels down, as a trainer of one's own keeps its state."""
    return {
        "version": 3,
        "trainer": {"state": inside, "progress": {"epoch": epoch}},
        "config": {"epoch": 100, "step": 30},
    }


def timm() -> Payload:
    """The rate is computed from the epoch; `initial_lr` stays in the groups."""
    held = plain("AdamW", "CosineAnnealingLR")
    del held["scheduler"]
    return held | {"state_dict": held.pop("model"), "arch": "resnet50", "version": 2, "metric": 71.0}


def vits() -> Payload:
    """ExponentialLR is built anew at every start, with `last_epoch=`."""
    held = plain("AdamW", "ExponentialLR")
    return {"model": held["model"], "optimizer": held["optimizer"], "iteration": 2, "learning_rate": 0.01}


def rebuilt() -> Payload:
    """A schedule of another class, begun by hand after a warm-up of as many steps."""
    loop = Loop("Adam").run(1)
    loop.scheduler, loop.by_step = sched.LambdaLR(loop.optimizer, lambda step: 0.99**step), True
    return loop.run(2).payload(3)


def capturable() -> Payload:
    """For CUDA graphs; the step lies with the parameters."""
    held = plain("Adam", "StepLR")
    held["optimizer"]["param_groups"][0]["capturable"] = True
    return held


def head_elsewhere() -> Payload:
    """A loss with weights of its own, trained by the same optimizer and saved in another file."""
    held = plain("SGD with momentum")
    held["optimizer"]["state"][99] = {"momentum_buffer": torch.ones(17, 3)}
    held["optimizer"]["param_groups"][0]["params"].append(99)
    return held


OTHERS: Mapping[str, Callable[[], Payload]] = {
    "gan": gan,
    "late generator": late_generator,
    "averaged": averaged,
    "by hand": by_hand,
    "bfloat16": lambda: of_half_precision(torch.bfloat16),
    "float16": lambda: of_half_precision(torch.float16),
    "with a scaler": with_a_scaler,
    "skipping all": skipping_all,
    "nested": lambda: nested(plain("AdamW", "StepLR")),
    "nested, step 0": lambda: nested(Loop("AdamW", "StepLR").payload(0), epoch=0),
    "timm": timm,
    "vits": vits,
    "warm-up by hand": rebuilt,
    "capturable": capturable,
    "accumulated": lambda: plain("AdamW", "OneCycleLR", accumulate=3),
    "frozen": lambda: plain("AdamW", "StepLR", frozen=True),
    "head elsewhere": head_elsewhere,
    "only the optimizer": lambda: plain("AdamW", "StepLR")["optimizer"],
    "only the scheduler": lambda: plain("AdamW", "StepLR")["scheduler"],
    "a count of its own": lambda: plain() | {"last_epoch": 2, "best_loss": torch.tensor(0.3)},
}
"""Healthy files that are no plain cross of an optimizer and a schedule."""
