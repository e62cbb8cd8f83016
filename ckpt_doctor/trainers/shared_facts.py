"""Facts that the training commands of several trainers have: each is a row of the tables of those that know it."""

from __future__ import annotations

from ckpt_doctor.reports.text import integer, rate
from ckpt_doctor.types import Count, Fact, Flag, Number

STEPS_PER_EPOCH = Fact(
    "steps_per_epoch", Count(), "Batches per epoch: len(train_loader).", lambda n: f"{integer(n)} steps per epoch"
)
TRAIN_EPOCHS = Fact(
    "train_epochs", Count(), "Epochs of the whole run: --train_epochs, max_epochs.", lambda n: f"{integer(n)} epochs"
)
LEARNING_RATE = Fact(
    "learning_rate",
    Number(0, above=True),
    "The --learning_rate of the resume command.",
    lambda value: f"learning rate {rate(value)}",
)
SHUFFLE = Fact(
    "shuffle", Flag(), "Whether the train loader shuffles.", lambda shuffles: "shuffled" if shuffles else "not shuffled"
)
