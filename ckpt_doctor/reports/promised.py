"""Names that the JSON of version 1 promises, one trainer's among them: null in what other trainers wrote."""

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
