"""Names that the JSON of version 1 promises, one trainer's among them: null in what other trainers wrote."""

from __future__ import annotations

from ckpt_doctor.types import Member

RUN_FACTS = ("lradj", "steps_per_epoch", "train_epochs")
"""Facts of the training command whose value each run has beside `facts`."""
TRAINING = (
    "epoch",
    "global_step",
    "last_epoch",
    "step_count",
    "total_steps",
    "optimizer_step",
    "lr",
    "best_score",
    "val_loss_min",
    "counter",
)
"""What of a `TrainingState` each file has, and `inspect` shows."""
_OF_ONE_TRAINER = {"best_score": "best", "val_loss_min": "best_loss", "counter": "patience"}
"""Those of them that are one trainer's names, with their slots."""
PLAN = (
    "start_epoch",
    "skip_batches",
    "global_step",
    "next_lr",
    "next_lr_uninterrupted",
    "best_score",
    "counter",
    "steps_left",
    "flags",
)
"""What of a `ResumePlan` a check has."""


def own_names(member: Member) -> dict[str, str]:
    """Promised name -> the key under which the checkpoint's trainer keeps that slot, where it has another name."""
    keys = {name: str(member.places.get(slot, (name,))[-1]) for name, slot in _OF_ONE_TRAINER.items()}
    return {name: key for name, key in keys.items() if key != name}
