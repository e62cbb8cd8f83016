"""Small runs of the real library: train, resume, and what each batch saw."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.optim import LBFGS, SGD, Adagrad, Adam, AdamW, NAdam, Optimizer, RMSprop
from torch.optim import lr_scheduler as schedulers
from torch.utils.data import DataLoader, TensorDataset

for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
    logging.getLogger(name).setLevel(logging.ERROR)

BATCHES = 5
"""Of an epoch."""
Batch = tuple[int, int, int, float, float]
"""Epoch, batch by the loop's count, first item of the data, rate, loss."""


class Module(pl.LightningModule):
    """A regression; notes every batch."""

    def __init__(self, schedule: str = "none", total: int = 20, optimizer: str = "adamw", interval: str = "") -> None:
        super().__init__()
        self.save_hyperparameters()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        self.seen: list[Batch] = []
        self.validated: list[float] = []

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        x, y, item = batch
        loss = ((self.net(x) - y) ** 2).mean()
        rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        self.seen.append((self.current_epoch, index, int(item[0]), rate, float(loss.detach())))
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        x, y, _ = batch
        self.log("val_loss", ((self.net(x) - y) ** 2).mean())

    def configure_optimizers(self) -> Any:
        chosen = self.hparams
        optimizer = {
            "adamw": lambda p: AdamW(p, lr=0.02),
            "adam": lambda p: Adam(p, lr=0.02),
            "sgd": lambda p: SGD(p, lr=0.02, momentum=0.9),
            "sgd without momentum": lambda p: SGD(p, lr=0.02),
            "rmsprop": lambda p: RMSprop(p, lr=0.01),
            "adagrad": lambda p: Adagrad(p, lr=0.02),
            "nadam": lambda p: NAdam(p, lr=0.02),
            "lbfgs": lambda p: LBFGS(p, lr=0.1),
            "groups": lambda p: AdamW([{"params": [one], "lr": 0.01 + 0.01 * i} for i, one in enumerate(p)]),
        }[chosen["optimizer"]](self.parameters())
        if chosen["schedule"] == "none":
            return optimizer
        scheduler = schedule(chosen["schedule"], optimizer, chosen["total"])
        interval = chosen["interval"] or ("step" if chosen["schedule"] in ("onecycle", "warmup") else "epoch")
        config = {"scheduler": scheduler, "interval": interval, "monitor": "val_loss"}
        return {"optimizer": optimizer, "lr_scheduler": config}


def schedule(name: str, optimizer: Optimizer, total: int) -> Any:
    """A scheduler by a short name."""
    return {
        "onecycle": lambda: schedulers.OneCycleLR(optimizer, max_lr=0.02, total_steps=total),
        "cosine": lambda: schedulers.CosineAnnealingLR(optimizer, T_max=total),
        "step": lambda: schedulers.StepLR(optimizer, 2, 0.5),
        "exponential": lambda: schedulers.ExponentialLR(optimizer, 0.9),
        "lambda": lambda: schedulers.LambdaLR(optimizer, lambda epoch: 0.9**epoch),
        "restarts": lambda: schedulers.CosineAnnealingWarmRestarts(optimizer, 2),
        "plateau": lambda: schedulers.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, threshold=0.3),
        "warmup": lambda: schedulers.SequentialLR(
            optimizer,
            [
                schedulers.LinearLR(optimizer, 0.1, total_iters=3),
                schedulers.CosineAnnealingLR(optimizer, T_max=total - 3),
            ],
            [3],
        ),
    }[name]()


def loaders(shuffle: bool = False) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Train and validation data."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4 * BATCHES, 6, generator=generator)
    data = TensorDataset(x, x.sum(1, keepdim=True) * 0.3, torch.arange(len(x)))
    return DataLoader(data, batch_size=4, shuffle=shuffle), DataLoader(TensorDataset(*data[:8]), batch_size=4)


def fit(
    callbacks: Sequence[Callback] = (),
    *,
    resume: Path | None = None,
    epochs: int = 4,
    shuffle: bool = False,
    validate: bool = True,
    module: Module | None = None,
    root: Path,
    **options: Any,
) -> Module:
    """Train, or resume, and return the module with what it saw."""
    pl.seed_everything(3, verbose=False)
    module = module or Module()
    train, validation = loaders(shuffle)
    saves = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=options.pop("logger", False),
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=saves,
            callbacks=list(callbacks),
            default_root_dir=str(root),
            num_sanity_val_steps=0,
            **options,
        )
        path = str(resume) if resume else None
        trainer.fit(module, train, validation if validate else None, ckpt_path=path, weights_only=False)
    return module


def saver(folder: Path, **options: Any) -> ModelCheckpoint:
    """A ModelCheckpoint that keeps every file."""
    return ModelCheckpoint(dirpath=folder, **{"save_top_k": -1, **options})


def weights(module: Module) -> list[torch.Tensor]:
    """The trained weights."""
    return [value.detach().clone() for value in module.state_dict().values()]


def continues(resumed: Module, whole: Module) -> bool:
    """Whether a resumed run is the end of the whole one, bit for bit: batches, rates, losses, weights."""
    count = len(resumed.seen)
    same = all(torch.equal(one, other) for one, other in zip(weights(resumed), weights(whole), strict=True))
    return count > 0 and resumed.seen == whole.seen[-count:] and same
