"""What to do about a run: the answer with which every report begins."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ckpt_doctor.types.record import record

AdviceKind = Literal["resume", "repair", "facts", "complete", "not judged", "none"]
"""`resume`: from this checkpoint as it is. `repair`: after a command whose dry run would carry out all of it. `facts`:
after a command in which a person fills in what no file shows, or confirms a log. `complete`: nothing is left to train.
`not judged`: no known trainer wrote the files. `none`: nothing here is safe to resume from."""
Words = tuple[str, ...]
"""A command line, word by word and not quoted; empty for none."""


@record(frozen=True)
class PassedOver:
    """A checkpoint that is further in training than the one to resume from, and why it is not that one."""

    path: Path
    label: str
    """Its name within the run."""
    code: str
    """Of the first finding that speaks against it; empty where none does."""
    reason: str
    """The finding's name in words, or what else speaks against it."""


@record(frozen=True)
class WayOut:
    """What is left where the evidence is lost for good: to accept some findings, and to repair everything else."""

    codes: tuple[str, ...]
    """Of the findings to accept."""
    keep: tuple[Path, ...]
    """Files to copy first, because the resumed run may overwrite them."""
    command: Words
    """Repairs what does not depend on these; empty where nothing else needs a repair."""


@record(frozen=True)
class LeftLog:
    """A log near a run that is not taken for its own."""

    path: Path
    reason: str


@record(frozen=True)
class Blank:
    """A word of a command that a person must fill in."""

    option: str
    """`--val-loss`."""
    word: str
    """What stands for it in the command: `LOSS`."""
    what: str
    """What it is, in a few words."""


@record(frozen=True)
class Advice:
    """What to do about a run, by what its files and logs prove."""

    kind: AdviceKind
    run: Path
    path: Path | None = None
    """What the resume command gets; None where nothing is safe."""
    label: str = ""
    """Its name within the run."""
    position: str = ""
    """How far training had come, in words: `step 135 of 225`."""
    command: Words = ()
    """The one command to run before; a word in capital letters stands for what a person must fill in."""
    flags: Words = ()
    """What the training command must carry."""
    passed_over: tuple[PassedOver, ...] = ()
    """Newer ones, the newest first."""
    stays: tuple[str, ...] = ()
    """What will differ from the uninterrupted run all the same: codes and names."""
    reason: str = ""
    """What is missing or wrong, in one clause."""
    missing: tuple[Blank, ...] = ()
    """What a person must fill in; with it the command settles everything at once."""
    log: Path | None = None
    """A log that nothing contradicts and that names another folder: the command is right if it is this run's."""
    otherwise: Words = ()
    """The command to run if it is not; what is `missing` stands in this one then."""
    caveats: tuple[str, ...] = ()
    """What to know before the command is run."""
    way_out: WayOut | None = None
    left_logs: tuple[LeftLog, ...] = ()
    better: Advice | None = None
    """Of a check: the run's own advice, where that is another checkpoint than the one that is judged."""
