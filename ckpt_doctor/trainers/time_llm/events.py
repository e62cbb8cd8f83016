"""What a line of a Time-LLM log says: one small value per kind of line, with its number in the file (from 1).

Source of the lines: `run_main.py` and `utils/tools.py` of Time-LLM, and its user's patch for resuming.
"""

from __future__ import annotations

from collections.abc import Mapping

from ckpt_doctor.types.record import record


@record(frozen=True, slots=True)
class EpochResult:
    """`Epoch: 3 | Train Loss: ... Vali Loss: ...`, printed before EarlyStopping is called. Losses have 7 decimals."""

    line: int
    epoch: int
    """1-based."""
    train_loss: float
    vali_loss: float
    """What EarlyStopping gets; may be NaN or infinite."""
    test_loss: float | None = None
    mae_loss: float | None = None


@record(frozen=True, slots=True)
class EpochCost:
    """`Epoch: 3 cost time: ...`: the epoch's last batch is trained."""

    line: int
    epoch: int
    """1-based."""


@record(frozen=True, slots=True)
class Iterations:
    """`iters: 100, epoch: 1 | loss: ...`."""

    line: int
    iteration: int
    """1-based within the epoch."""
    epoch: int
    """1-based."""
    loss: float


@record(frozen=True, slots=True)
class StepSaved:
    """`Saved step checkpoint: <run>/checkpoint_step_1000`."""

    line: int
    path: str
    step: int


@record(frozen=True, slots=True)
class Loading:
    """`Loading checkpoint: <file>`: the first sign of a resume."""

    line: int
    path: str


@record(frozen=True, slots=True)
class Resumed:
    """`Resumed at epoch 2, global_step 17280`: the file's values, before the complete trainer corrects the epoch."""

    line: int
    epoch: int
    """0-based."""
    global_step: int


@record(frozen=True, slots=True)
class Restored:
    """`Restored EarlyStopping: best_score=-0.41, val_loss_min=0.41, counter=0`: only the complete trainer."""

    line: int
    best_score: float | None
    val_loss_min: float | None
    counter: int


@record(frozen=True, slots=True)
class WillSkip:
    """`Will skip first 720 batches in epoch 2 to resume.`"""

    line: int
    batches: int
    epoch: int
    """0-based."""


@record(frozen=True, slots=True)
class Counter:
    """`EarlyStopping counter: 1 out of 10`: the epoch did not improve."""

    line: int
    count: int
    patience: int


@record(frozen=True, slots=True)
class Decreased:
    """`Validation loss decreased (inf --> 0.412346).  Saving model ...` (6 decimals): the epoch improved."""

    line: int
    before: float
    after: float


@record(frozen=True, slots=True)
class LearningRate:
    """`lr = 0.0000040000` (10 decimals): COS after every epoch, the idle modes after the first."""

    line: int
    rate: float


@record(frozen=True, slots=True)
class Updating:
    """`Updating learning rate to 2e-06` (all digits): TST and the idle modes after an epoch."""

    line: int
    rate: float


@record(frozen=True, slots=True)
class Stopped:
    """`Early stopping`."""

    line: int


@record(frozen=True, slots=True)
class Finished:
    """`Checkpoints saved at: ./checkpoints`: the last line of a run that was not killed."""

    line: int
    path: str


@record(frozen=True, slots=True)
class Bar:
    """A tqdm bar that was closed (a line that ends in one): its last count."""

    line: int
    count: int


@record(frozen=True, slots=True)
class Arguments:
    """A printed `Namespace(...)` or an echoed command line: those arguments that say something of the schedule."""

    line: int
    values: Mapping[str, str]
    """Argument -> its text; only names of `ARGUMENTS`."""


Event = (
    EpochResult
    | EpochCost
    | Iterations
    | StepSaved
    | Loading
    | Resumed
    | Restored
    | WillSkip
    | Counter
    | Decreased
    | LearningRate
    | Updating
    | Stopped
    | Finished
    | Bar
    | Arguments
)

ARGUMENTS = ("learning_rate", "lradj", "train_epochs", "patience", "pct_start", "batch_size", "save_steps")
