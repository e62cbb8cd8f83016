"""The contract: what the stages ask of a trainer.

A trainer is one value of `Trainer`, made in its package's `__init__` and listed in `trainers.KNOWN`. The stages call
its functions and know nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor.types import (
    Case,
    Checkpoint,
    Curve,
    EarlyStoppingState,
    Evidence,
    Fact,
    Given,
    KeyPath,
    Member,
    ReadScalars,
    Run,
    RunReport,
    Schedule,
    Terms,
)
from ckpt_doctor.types.record import record

if TYPE_CHECKING:  # a scan loads no fixes
    from ckpt_doctor.migrators import Fix
    from ckpt_doctor.validators.rule import Rule


@record(frozen=True)
class ByHand:
    """What a person gives for one checkpoint."""

    early_stopping: Evidence[EarlyStoppingState] | None = None
    epoch: int | None = None
    """Finished epochs of bare weights."""


@record(frozen=True)
class Expectation:
    """What a trainer expects of a file."""

    reads: tuple[KeyPath, ...] = ()
    """What it reads without a default."""
    schedule: Schedule = field(default_factory=Schedule)


def _curve(run: RunReport) -> Curve:
    from ckpt_doctor.trainers.drawing import curve

    return curve(run)


@record(frozen=True)
class Judging:
    """How the checkpoints of one trainer are judged."""

    understand: Callable[[Run, Given, Sequence[Path]], Run]
    """A run of this trainer's members, what a person gives of its facts, and logs named by hand -> the run with all its
    facts and its history."""
    case: Callable[[Member, Run, ByHand], Case]
    """A member of a run -> all that rules and fixes may look at: resume point, plan, schedule."""
    expects: Callable[[Member, Run], Expectation] = lambda _member, _run: Expectation()
    """What the trainer reads of any file in the place of its own, and the schedule that it builds."""
    rules: Sequence[Rule] = ()
    """Rules about one checkpoint that are this trainer's alone, beside those of `validators`."""
    run_rules: Sequence[Rule] = ()
    """The same about a run as a whole."""
    curve: Callable[[RunReport], Curve] = _curve
    """What there is to draw of a run: by the schedules in its files, unless the trainer knows more."""
    logs: Callable[[Path], Sequence[Path]] = lambda _folder: ()
    """Run folder -> logs that lie where this trainer's scripts put them, but for those of other runs that lie there."""
    terms: Terms = field(default_factory=Terms)
    """What reports say of its checkpoints in its own terms."""


@record(frozen=True)
class Trainer:
    """All that the stages know of one trainer."""

    name: str
    """`plain`, for example: in JSON, and what `--trainer` takes."""
    recognises: Callable[[Path, Sequence[Checkpoint], Sequence[Path]], Collection[Path]]
    """Run folder, its checkpoints and the logs named by hand -> paths of the checkpoints that this trainer wrote.

    Narrow: a checkpoint that no trainer names is not judged, one that the wrong trainer names is judged falsely.
    """
    reads: Callable[[Checkpoint], bool]
    """Whether a checkpoint can be read as this trainer's, so that a person may claim it with `--trainer`."""
    member_of: Callable[[Checkpoint, ReadScalars], Member]
    """A checkpoint with its training state, its role and the step that its name says."""
    judging: Callable[[], Judging]
    """Imports what only a file of this trainer needs: most files that are scanned are of no known trainer."""
    title: str = ""
    """How a sentence names it, where not by its name: `a hand-written loop`."""
    run_of: Callable[[Path], Path | None] = lambda _path: None
    """Path of a checkpoint -> the folder of its run, where the path alone shows that this trainer put it there."""
    is_unit: Callable[[Path, Collection[str]], bool] = lambda _folder, _names: False
    """A folder and the names in it -> whether the folder as a whole is one checkpoint of this trainer."""
    reads_part: Callable[[str], bool] = lambda _name: True
    """Name of a file in such a folder -> whether a resume reads it. Of JSON files only those are opened."""
    siblings: Callable[[Path], Sequence[Path]] = lambda _folder: ()
    """Run folder -> the checkpoints that this trainer would have put there, as far as they exist."""
    resume_target: Callable[[Path], Path | None] = lambda _folder: None
    """Folder that is not a checkpoint itself -> the one that the trainer loads when it resumes from that folder."""
    prunable: Callable[[Path], Iterable[tuple[Path, int]]] = lambda _folder: ()
    """Run folder -> the folders that `prune` may remove, each with the step that its name says."""
    does_without: Callable[[str], bool] = lambda _name: False
    """Whether a resume goes on where a file of that name, which it reads, cannot be opened; its own rules tell of it.
    """
    loads_part: Callable[[str], bool] = lambda _name: False
    """Name of a file that a resume reads -> whether the trainer loads it although `weights_only` alone refuses it."""
    fixes: Callable[[], Sequence[Fix]] = tuple
    """Fixes of the training state, in the order in which they are planned; those of `migrators` that hold for every
    file come after them."""
    facts: tuple[Fact, ...] = ()
    """The facts of its training command that a person can give, in the order in which reports show them."""
    by_shape: bool = False
    """Whether the rules for everyone's files hold for its own: each script differs, and no contract says more."""
    relatives: Callable[[Sequence[Checkpoint]], Sequence[Path]] = lambda _checkpoints: ()
    """Checkpoints of a folder -> files beside them that are read as evidence where one of those is this trainer's."""
    named: Callable[[Checkpoint], str] = lambda _checkpoint: ""
    """A checkpoint that nobody owns -> why its resume is not judged, where its project is known."""


def one_by_one(is_ours: Callable[[Checkpoint], bool]) -> Callable[..., Collection[Path]]:
    """A `recognises` that looks at each checkpoint alone."""
    return lambda _folder, checkpoints, _logs: {checkpoint.path for checkpoint in checkpoints if is_ours(checkpoint)}
