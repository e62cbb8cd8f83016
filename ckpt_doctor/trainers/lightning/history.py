"""What the files of a run say together: gathered once, so that judging each of many files stays cheap."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Literal

from ckpt_doctor.inert.lines import Line
from ckpt_doctor.trainers.lightning.callbacks import Saver
from ckpt_doctor.types import KeyPath, Member, Run
from ckpt_doctor.types.record import record


def name_of(path: str) -> str:
    """The last part of a path of this or another system."""
    return re.split(r"[/\\]", path)[-1]


def kept(saver: Saver) -> set[str]:
    """Names of the files that a ModelCheckpoint keeps."""
    return {name_of(path) for path in (*saver.best_k, saver.text("last_model_path")) if path}


By = Literal["epoch", "step", "batch", "epoch before", "nothing"]


@record(frozen=True)
class Pace:
    """By what a schedule that a script steps goes in a run."""

    by: By | None
    """None where the files do not show it."""
    whole: Member | None = None
    """A file in which it is where it should be, as its optimizer sees it."""
    is_seen_inside: bool = False
    """Whether it goes by epochs in a file from within one, so that no step is made as an epoch starts."""


@record(frozen=True)
class History:
    """The files of a run by what they have."""

    names: frozenset[str] = frozenset()
    """Of all files in the folder, also of those that cannot be read."""
    keepers: Mapping[str, Counter[str]] = field(default_factory=dict)
    """`dirpath` -> how many files say that they keep a file of that name there."""
    scores: Mapping[str, Counter[float]] = field(default_factory=dict)
    """Monitored value -> its scores, with in how many places each is."""
    steps: Mapping[str, int] = field(default_factory=dict)
    """Name of a file -> the step that it holds."""
    memories: Mapping[KeyPath, Sequence[Member]] = field(default_factory=dict)
    """Where a callback keeps its state -> the files that have it, in order of steps."""
    with_schedule: Member | None = None
    """A file that has a single schedule, where the loops count its steps."""
    with_scaler: str = ""
    """Name of a file that has a gradient scaler's state; empty where none has."""
    adam_lags: Mapping[int | None, int] = field(default_factory=dict)
    """Steps by which Adam's count lags the loops' -> files in which it does."""
    periods: range = range(1, 2)
    """Epochs that may lie between two validations (`check_val_every_n_epoch`), by which epochs had none."""
    newest: Mapping[tuple[KeyPath, bool], int] = field(default_factory=dict)
    """Where a ModelCheckpoint keeps its state, and whether the newest file in it is this one -> in how many files."""
    off_rates: int = 0
    """Files whose optimizer has another rate than their schedule set."""
    lines: Mapping[str, Line] = field(default_factory=dict)
    """Of several optimizers and schedules, how the count of each grows with the epochs."""
    shortfalls: Mapping[int | None, int] = field(default_factory=dict)
    """Steps that the loops count and none of several schedules has -> files in which that is so."""
    paces: Mapping[KeyPath, Pace] = field(default_factory=dict)
    """Where an optimizer is -> by what its schedule goes, where a script steps it or there are several."""
    by_script: bool = False
    """Whether the script makes the steps of the only schedule, though Lightning makes those of the optimizer."""
    lags: Mapping[int | None, int] = field(default_factory=dict)
    """Steps by which the schedule lags the loops' count of its steps -> files in which it does."""


def adam_lag(member: Member) -> int | None:
    """Steps by which Adam's count of a file lags the loops'."""
    step, adam = member.state.global_step, member.state.optimizer_step
    return None if step is None or adam is None else step - adam


def history_of(run: Run) -> History:
    """What was gathered of a run of this trainer."""
    assert isinstance(run.history, History), "understand() made it"
    return run.history
