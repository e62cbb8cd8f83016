"""What a line of a Time-LLM log says: one small value per kind of line, with its number in the file (from 1).

Source of the lines: `run_main.py` and `utils/tools.py` of Time-LLM, and its user's patch for resuming.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ckpt_doctor.types.record import record


@record(frozen=True, slots=True)
class Event:
    """What a line says."""

    line: int
    """Its number in the file."""


@record(frozen=True, slots=True)
class EpochResult(Event):
    """`Epoch: 3 | Train Loss: ... Vali Loss: ...`, printed before EarlyStopping is called. Losses have 7 decimals."""

    epoch: int
    """1-based."""
    train_loss: float
    vali_loss: float
    """What EarlyStopping gets; may be NaN or infinite."""
    test_loss: float | None = None
    mae_loss: float | None = None


@record(frozen=True, slots=True)
class EpochCost(Event):
    """`Epoch: 3 cost time: ...`: the epoch's last batch is trained."""

    epoch: int
    """1-based."""


@record(frozen=True, slots=True)
class Iterations(Event):
    """`iters: 100, epoch: 1 | loss: ...`."""

    iteration: int
    """1-based within the epoch."""
    epoch: int
    """1-based."""
    loss: float


@record(frozen=True, slots=True)
class StepSaved(Event):
    """`Saved step checkpoint: <run>/checkpoint_step_1000`."""

    path: str
    step: int


@record(frozen=True, slots=True)
class Loading(Event):
    """`Loading checkpoint: <file>`: the first sign of a resume."""

    path: str


@record(frozen=True, slots=True)
class Resumed(Event):
    """`Resumed at epoch 2, global_step 17280`: the file's values, before the complete trainer corrects the epoch."""

    epoch: int
    """0-based."""
    global_step: int


@record(frozen=True, slots=True)
class Restored(Event):
    """`Restored EarlyStopping: best_score=-0.41, val_loss_min=0.41, counter=0`: only the complete trainer."""

    best_score: float | None
    val_loss_min: float | None
    counter: int


@record(frozen=True, slots=True)
class WillSkip(Event):
    """`Will skip first 720 batches in epoch 2 to resume.`"""

    batches: int
    epoch: int
    """0-based."""


@record(frozen=True, slots=True)
class Counter(Event):
    """`EarlyStopping counter: 1 out of 10`: the epoch did not improve."""

    count: int
    patience: int


@record(frozen=True, slots=True)
class Decreased(Event):
    """`Validation loss decreased (inf --> 0.412346).  Saving model ...` (6 decimals): the epoch improved."""

    before: float
    after: float


@record(frozen=True, slots=True)
class LearningRate(Event):
    """`lr = 0.0000040000` (10 decimals): COS after every epoch, the idle modes after the first."""

    rate: float


@record(frozen=True, slots=True)
class Updating(Event):
    """`Updating learning rate to 2e-06` (all digits): TST and the idle modes after an epoch."""

    rate: float


@record(frozen=True, slots=True)
class Stopped(Event):
    """`Early stopping`."""


@record(frozen=True, slots=True)
class Finished(Event):
    """`Checkpoints saved at: ./checkpoints`: the last line of a run that was not killed."""

    path: str


@record(frozen=True, slots=True)
class Bar(Event):
    """A tqdm bar that was closed (a line that ends in one): its last count."""

    count: int


@record(frozen=True, slots=True)
class Arguments(Event):
    """A printed `Namespace(...)` or an echoed command line: those arguments that say something of the schedule."""

    values: Mapping[str, str]
    """Argument -> its text; only names of `ARGUMENTS`."""


ARGUMENTS = ("learning_rate", "lradj", "train_epochs", "patience", "pct_start", "batch_size", "save_steps")

# --- what a line looks like -------------------------------------------------------------------------------------------

_SEVEN = r"(?:-?\d+\.\d{7}(?!\d)|nan|-?inf)"
_FLOAT = r"-?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|nan|inf)"
_VALUE = rf"(?:np\.float(?:64|32)\()?({_FLOAT}|None)\)?"
_INT = r"(\d{1,18})"
_END = r"(?=\s|$)"
_PATH = r"(\S+|\S.*[/\\]checkpoint(?:_step_\d+)?(?:\.pt)?)\s*$"  # blanks only in the usual names: no cut line looks so


def _make(kind: Callable[..., Event], *convert: Callable[[str], Any]) -> Callable[[int, re.Match[str]], Event]:
    def make(line: int, match: re.Match[str]) -> Event:
        groups = match.groups()
        return kind(line, *(c(g) if g is not None else None for c, g in zip(convert, groups, strict=True)))

    return make


def _optional_float(text: str) -> float | None:
    return None if text == "None" else float(text)


FORMS: tuple[tuple[str, str, Callable[[int, re.Match[str]], Event], bool], ...] = (
    (
        "Epoch: ",
        rf"{_INT} \| Train Loss: ({_SEVEN})(?: \| Aux Loss: {_SEVEN})? (?:\| )?Vali Loss: ({_SEVEN})"
        rf"(?: (?:\| )?Test Loss: ({_SEVEN})(?: (?:\| )?MAE Loss: ({_SEVEN}))?)?",
        _make(EpochResult, int, float, float, float, float),
        False,
    ),
    ("Epoch: ", rf"{_INT} cost time: ", _make(EpochCost, int), False),
    ("iters: ", rf"{_INT}, epoch: {_INT} \| loss: ({_SEVEN})", _make(Iterations, int, int, float), False),
    (
        "Saved step checkpoint: ",
        rf"(.*?checkpoint_step_{_INT})(?:[/\\](?:checkpoint\.pt)?)?{_END}",
        _make(StepSaved, str.strip, int),
        True,
    ),
    ("Loading checkpoint: ", _PATH, _make(Loading, str), True),
    ("Resumed at epoch ", rf"{_INT}, global_step {_INT}{_END}", _make(Resumed, int, int), True),
    (
        "Restored EarlyStopping: ",
        rf"best_score={_VALUE}, val_loss_min={_VALUE}, counter=(-?\d{{1,18}}){_END}",
        _make(Restored, _optional_float, _optional_float, int),
        True,
    ),
    ("Will skip first ", rf"{_INT} batches in epoch {_INT} to resume", _make(WillSkip, int, int), False),
    ("EarlyStopping counter: ", rf"{_INT} out of {_INT}{_END}", _make(Counter, int, int), True),
    ("Validation loss decreased (", rf"({_FLOAT}) --> ({_FLOAT})\)", _make(Decreased, float, float), False),
    ("lr = ", r"(\d+\.\d{10})(?!\d)", _make(LearningRate, float), False),
    ("Updating learning rate to ", rf"({_FLOAT}){_END}", _make(Updating, float), True),
    ("Early stopping", r"\s*$", _make(Stopped), True),
    ("Checkpoints saved at: ", _PATH, _make(Finished, str), True),
)
"""With what a line begins and how it goes on, its event, and whether cutting the text could leave another valid one."""
