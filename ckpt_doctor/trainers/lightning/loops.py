"""The progress of Lightning's loops: where in its epoch a checkpoint was saved, by the file's own counters.

Source: lightning/pytorch/loops/progress.py, fit_loop.py and training_epoch_loop.py (2.6.6). The order of a batch:
optimizer step, `processed`, schedulers, on_train_batch_end, `completed`, validation; then the epoch's own `processed`,
on_train_epoch_end, the plateau schedulers, `completed`. ModelCheckpoint saves in between.
"""

from __future__ import annotations

from ckpt_doctor.trainers.state import integer
from ckpt_doctor.types import Checkpoint, KeyPath, mapping_of
from ckpt_doctor.types.record import record

FIT: KeyPath = ("loops", "fit_loop")
OPTIMIZER_STEPS = (
    "epoch_loop.automatic_optimization.optim_progress",  # 2.0 on
    "epoch_loop.optimizer_loop.optim_progress",
    "epoch_loop.batch_loop.optimizer_loop.optim_progress",  # 1.5 to 1.9
)
MANUAL_STEPS = (
    "epoch_loop.manual_optimization.optim_step_progress",
    "epoch_loop.manual_loop.optim_step_progress",
    "epoch_loop.batch_loop.manual_loop.optim_step_progress",
)


@record(frozen=True)
class Loops:
    """What the loops have counted."""

    epoch: int
    """Epochs that are over, as `trainer.current_epoch` has it while the file is saved."""
    entered: int
    """Epochs that were begun."""
    batch: int
    """Batches of the epoch that are trained."""
    batches: int
    """Batches that are trained in all epochs."""
    is_last: bool
    """Whether the last of them ended its epoch."""
    steps: int | None
    """Optimizer steps within the epoch; None where they are made by hand."""
    schedule: int | None
    """Steps that the loops made with schedulers."""
    is_before_end: bool
    """Whether the file was saved at an epoch's last batch, before what a script does at the end of the epoch."""
    has_loader_state: bool
    """Whether the state of a loader is saved, which then goes on where it was."""
    is_before_checks: bool
    """Whether the file was saved at an epoch's last batch, before the validation and what is checked after it."""
    has_validated: bool
    """Whether a validation was run before."""

    @property
    def checked(self) -> int:
        """Epochs whose validation came before the save, if they had one."""
        return self.epoch + (self.is_last and not self.is_before_checks)

    @property
    def at_end(self) -> bool:
        """Whether the file was saved between two epochs, or before the first batch."""
        return self.is_last or self.batch == 0

    @property
    def start(self) -> int:
        """The epoch in which the trainer starts."""
        return self.epoch + 1 if self.is_last and self.entered > self.epoch else self.epoch


def loops_of(checkpoint: Checkpoint) -> Loops | None:
    """The counters of Lightning 1.6 on; None where the file has none, or values that are not counts."""

    def at(*path: str) -> object:
        return checkpoint.get(*FIT, *path)

    epoch = integer(at("epoch_progress", "current", "completed"))
    entered = integer(at("epoch_progress", "current", "started"))
    batch = integer(at("epoch_loop.batch_progress", "current", "processed"))
    batches = integer(at("epoch_loop.batch_progress", "total", "processed"))
    last = at("epoch_loop.batch_progress", "is_last_batch")
    if epoch is None or entered is None or batch is None or batches is None or not isinstance(last, bool):
        return None
    if step_path(checkpoint)[2] not in (*OPTIMIZER_STEPS, *MANUAL_STEPS) or min(epoch, entered, batch, batches) < 0:
        return None
    if (processed := integer(at("epoch_progress", "current", "processed"))) is not None:
        epoch = max(epoch, processed - (processed == entered))  # a start sets it so (`FitLoop.on_run_start`)
    if epoch > entered or batch > batches:
        return None  # what is over was begun
    automatic = next((key for key in OPTIMIZER_STEPS if isinstance(at(key), dict)), "")
    by_hand = step_path(checkpoint)[2] in MANUAL_STEPS
    state = mapping_of(at("state_dict"))
    return Loops(
        epoch,
        entered,
        batch,
        batches,
        last,
        None if by_hand else integer(at(automatic, "optimizer", "step", "current", "completed")),
        None if by_hand else integer(at("epoch_loop.scheduler_progress", "total", "completed")),
        last and processed == entered - 1,
        bool(state and state.get("combined_loader")),
        last and integer(at("epoch_loop.batch_progress", "total", "completed")) == batches - 1,
        bool(integer(at("epoch_loop.val_loop.batch_progress", "current", "ready"))),
    )


def step_path(checkpoint: Checkpoint) -> KeyPath:
    """Where the loops count optimizer steps: those of automatic optimization, else those made by hand.

    Each of the two counts 0 while the other is used. Ends in an empty key where the file has neither.
    """
    automatic = next((key for key in OPTIMIZER_STEPS if isinstance(checkpoint.get(*FIT, key), dict)), "")
    by_hand = next((key for key in MANUAL_STEPS if isinstance(checkpoint.get(*FIT, key), dict)), "")
    if automatic and not (by_hand and _counted(checkpoint, by_hand) and not _counted(checkpoint, automatic)):
        return (*FIT, automatic, "optimizer", "step", "total", "completed")
    if by_hand:
        return (*FIT, by_hand, "total", "completed")
    return (*FIT, "")


def _counted(checkpoint: Checkpoint, key: str) -> int:
    path = ("optimizer", "step") if key in OPTIMIZER_STEPS else ()
    return integer(checkpoint.get(*FIT, key, *path, "total", "completed")) or 0
