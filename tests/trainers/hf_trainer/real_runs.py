"""Small trainings with the real Trainer: all batches, losses and weights are recorded and compared bit for bit."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

transformers.utils.logging.set_verbosity_error()
DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 4,
    "per_device_train_batch_size": 4,
    "learning_rate": 0.01,
    "save_strategy": "steps",
    "save_steps": 7,
    "logging_steps": 1,
    "seed": 1,
}


class Config(transformers.PretrainedConfig):
    model_type = "tiny"


class Tiny(transformers.PreTrainedModel):
    """Two layers with dropout between them."""

    config_class = Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 1)
        self.drop = nn.Dropout(0.2)
        self.post_init()

    def forward(self, x: torch.Tensor, labels: torch.Tensor, number: torch.Tensor | None = None) -> dict[str, Any]:
        if self.training and number is not None:
            SEEN.append(number.tolist())
        out = self.b(self.drop(torch.relu(self.a(x)))).squeeze(-1)
        return {"loss": ((out - labels) ** 2).mean(), "logits": out}


SEEN: list[list[int]] = []


def data(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows whose labels a line almost tells."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6)).astype("float32")
    y = (x @ np.arange(1, 7)).astype("float32") * 0.5
    return [{"x": x[i], "labels": y[i], "number": i} for i in range(count)]


@dataclass
class Trained:
    """What a training did."""

    folder: Path
    batches: list[list[int]]
    log: list[dict[str, Any]]
    weights: dict[str, torch.Tensor]
    state: Any = field(repr=False, default=None)

    def after(self, step: int) -> tuple[Any, ...]:
        """What happened after a step, as far as it must be equal bit for bit."""
        kept = ("step", "epoch", "loss", "grad_norm", "learning_rate", "eval_loss")
        log = [{key: row[key] for key in kept if key in row} for row in self.log if row["step"] > step]
        best = (self.state.best_metric, self.state.best_global_step, self.state.global_step)
        return log, best, {name: value.tolist() for name, value in self.weights.items()}


def train(
    folder: Path, *, resume: Path | bool | None = None, patience: int | None = None, rows: int = 40, **changes: Any
) -> Trained:
    """Train with the real library; `resume` as `resume_from_checkpoint`."""
    SEEN.clear()
    optimizers = changes.pop("optimizers", None)
    arguments = {
        **DEFAULTS,
        "output_dir": str(folder),
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        **changes,
    }
    transformers.set_seed(1)
    model = Tiny(Config())
    callbacks = [transformers.EarlyStoppingCallback(patience)] if patience else []
    extra = {}
    if optimizers is not None:
        optimizer, scheduler = optimizers(model)
        extra["optimizers"] = (optimizer, scheduler)
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(**arguments),
        train_dataset=data(rows),
        eval_dataset=data(20, 1),
        callbacks=callbacks,
        **extra,
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=str(resume) if isinstance(resume, Path) else resume)
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return Trained(folder, [list(batch) for batch in SEEN], list(trainer.state.log_history), weights, trainer.state)


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
