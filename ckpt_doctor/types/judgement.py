"""What is wrong, what may be changed, and the report of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Literal

from ckpt_doctor.types.advice import Advice, Words
from ckpt_doctor.types.checkpoint import Checkpoint, FileStamp, NotChecked
from ckpt_doctor.types.facts import Facts
from ckpt_doctor.types.record import Shown, briefly, record
from ckpt_doctor.types.run import Member, ResumePlan, ResumePoint, Run

Severity = Literal["error", "warning", "info"]
RANKS: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
Verdict = Literal["ok", "repairable", "broken"]
Resume = Literal["impossible", "not judged", "differs", "open", "identical"]
"""What happens on a resume from the file as it is, the worst first: `open` where a fact that matters is not settled,
`not judged` where no known trainer wrote the file, `identical` where nothing on which it depends is open or wrong."""


@record(frozen=True)
class Finding:
    """One defect: what, where, what follows, what cures it."""

    code: str
    name: str
    severity: Severity
    message: str
    """Facts first, then the consequence for the resumed run, in one or two sentences."""
    where: str = ""
    found: object = None
    expected: object = None
    fix: str | None = None
    """The cure on its own line: a command, or a flag for the resume command. None: nothing here cures it."""
    migration: str | None = None
    """Name of the migration that cures it (`add-best-score`), None when no file edit does."""
    tensors: tuple[str, ...] = ()
    """Names of the damaged tensors, as in the message."""


@record(frozen=True)
class Located:
    """A finding and its place: a file, in source code also the lines."""

    finding: Finding
    path: Path
    """The file, or the run folder for a finding about a run. Of a script it can be a module that the script imports."""
    line: int | None = None
    """1-based; in a notebook, the line of the cell."""
    column: int | None = None
    """1-based, in characters of the line."""
    end_line: int | None = None
    suggestion: str = ""
    """A short piece of code that may replace the statement, or be added to it."""
    cell: int | None = None
    """1-based number of the notebook cell among all cells; None in a script."""
    excerpt: str = ""
    """The first line of the code in question, without its indentation."""


FLAGGED = frozenset({"R506", "E609"})
"""Codes of findings that no edit cures, and the flags of the plan do."""


def selects(word: str, code: str, name: str) -> bool:
    """Whether a word of `--select` or `--ignore` means a rule: by its code, the start of it, or its name."""
    return bool(word) and (code.startswith(word.upper()) or name == word.lower())


def reaches(findings: Iterable[Finding], level: Severity) -> bool:
    """Whether any finding is at or above a level."""
    return any(RANKS[finding.severity] <= RANKS[level] for finding in findings)


def without_flagged(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that are left once the resume command carries the flags of the plan, which cure a rate jump."""
    return [finding for finding in findings if finding.code not in FLAGGED]


def trusts(packages: Collection[str], finding: Finding) -> bool:
    """Whether a finding says no more than that loading calls into one of these packages (S204), or below it."""
    module = finding.where.rpartition(": ")[2]  # of a unit's finding the part comes first
    return finding.code == "S204" and any(module == p or module.startswith(p + ".") for p in packages)


@record(frozen=True)
class Refusal:
    """A repair that was asked for and not planned: no evidence, or nothing that a file edit can do."""

    migration: str
    reason: str
    settle: str
    """What to give or do so that it can be done."""


@record(frozen=True)
class FileReport:
    """One file, judged."""

    member: Member
    resume_point: ResumePoint
    plan: ResumePlan | None
    findings: tuple[Finding, ...]
    not_checked: tuple[NotChecked, ...]
    verdict: Verdict
    """What a migration can do."""
    resume: Resume
    """What happens without one."""
    trainer: str = ""
    """Name of the trainer that owns the file; empty for none that is known."""
    parts: tuple[FileReport, ...] = ()
    """Of a unit of several files: each file, judged by itself. What is wrong with one stands in `findings`, too."""
    asks: tuple[str, ...] = ()
    """Options whose answers its repair needs and no file shows."""
    repair: Words = ()
    """The command that repairs it, if its dry run would carry out all of it."""

    def __repr__(self) -> str:
        codes = ", ".join(dict.fromkeys(finding.code for finding in self.findings))
        found = f", findings={codes}" if codes else ""
        return f"FileReport({str(self.checkpoint.path)!r}, verdict={self.verdict!r}, resume={self.resume!r}{found})"

    @property
    def serious(self) -> list[Finding]:
        """The findings above info."""
        return [finding for finding in self.findings if finding.severity != "info"]

    @property
    def keeps_its_path(self) -> bool:
        """Whether the resume is identical, or is once the command carries the flags of the plan."""
        if self.plan is None or self.plan.why_not_exact or self.resume not in ("identical", "differs"):
            return False
        return not without_flagged(self.serious)

    @property
    def outlook(self) -> str:
        """The verdict in words; for a file that needs no repair and may all the same differ, what the resume is."""
        if self.asks:
            return "needs facts"
        if self.verdict == "ok" and self.resume == "differs" and self.serious and not self.keeps_its_path:
            return "differs"  # whatever is done to the file
        told = self.verdict != "ok" or self.resume in ("identical", "differs")
        return self.verdict if told else self.resume

    @property
    def checkpoint(self) -> Checkpoint:
        """The file's checkpoint."""
        return self.member.checkpoint


@record(frozen=True)
class Column:
    """One column of the tables of checkpoints."""

    title: str
    cell: Callable[[FileReport], str]
    is_number: bool = False
    droppable: int = 0
    """Where the width does not suffice, the column with the highest number is left out first; 0 stays."""


def _no_words(*_: object) -> str:
    return ""


def _no_rows(*_: object) -> tuple[()]:
    return ()


@record(frozen=True)
class TrainerManual:
    """The manual of a trainer's own rule that shares its code with another rule."""

    trainers: tuple[str, ...]
    """Names: several where their texts are the same."""
    title: str
    """How a sentence names them: `Lightning`."""
    severity: Severity
    manual: str


@record(frozen=True)
class Terms:
    """What reports say in a trainer's own terms. All are functions of modules, so that a report can be pickled."""

    columns: tuple[Column, ...] = ()
    """Those beside what every trainer's checkpoints have."""
    saved_by: Mapping[str, str] = field(default_factory=dict)
    """Role -> what saved the file: `saved by save_steps`."""
    start: Callable[[ResumePlan, Facts], str] = _no_words
    """Where the trainer starts on a resume, in a clause."""
    memory: Callable[[FileReport, ResumePlan, Facts], str] = _no_words
    """What the trainer then remembers of the best model, in a clause."""
    within_epoch: str = ""
    """What a resume within an epoch does not restore, though the losses can be those of the uninterrupted run."""
    landing: Callable[[FileReport, ResumePlan], Sequence[tuple[str, str, str]]] = _no_rows
    """What a resume begins with beside place and rate: a name, the value from the file as it is, from the repaired."""


@record(frozen=True)
class RunReport:
    """One run folder, judged as a whole."""

    run: Run
    findings: tuple[Finding, ...]
    files: tuple[FileReport, ...]
    terms: Terms = field(default_factory=Terms)
    advice: Advice | None = None
    """What to do; None where nobody asked."""
    copies: Mapping[Path, Path] = field(default_factory=dict)
    """Copy -> original, of files that hold the same."""
    all_repairs: Words = ()
    """The command that repairs every file here that needs it; empty where a dry run would refuse it for one."""
    requests: int = field(default=0, repr=False)
    """To servers, where URLs were given; those for listings belong to the first run."""
    received: int = field(default=0, repr=False)
    """Bytes that came for them."""

    __repr__ = briefly


Points = tuple[tuple[float, float], ...]


@record(frozen=True)
class Departure:
    """A resume from a file as it is, whose rates depart from the uninterrupted run's."""

    path: Path
    points: tuple[tuple[float, float, float], ...]
    """(place, its rate, the uninterrupted run's rate there) from its first batch on."""


@record(frozen=True)
class Curve:
    """A run as lines: the rate over its course, and the validation losses. Empty where the facts do not tell."""

    run: Path
    unit: Literal["step", "epoch"] = "step"
    """In what the course of training is counted: optimizer steps of each process, or epochs."""
    rates: Points = ()
    """(place, learning rate) of the uninterrupted run, in order."""
    recorded: Points = ()
    """The same at single places, as the files or the log have it, where no formula gives the whole line."""
    places: Mapping[Path, float] = field(default_factory=dict)
    """File -> where the uninterrupted run stood when it was saved."""
    departures: tuple[Departure, ...] = ()
    losses: Points = ()
    """(place, validation loss) in the order of training."""
    losses_by: Literal["step", "epoch"] = "epoch"
    loss: str = "validation loss"
    """What is measured, where it is another metric."""
    best: float | None = None
    """The place of the best one, as the trainer chooses it."""
    steps_per_epoch: int | None = None
    """Optimizer steps of each process in an epoch."""
    batches_per_step: int = 1

    __repr__ = briefly

    def starts(self, file: FileReport) -> tuple[float | None, float | None]:
        """Where a resume from the file as it is begins, and where one from the repaired file does."""
        right, plan, due = self.places.get(file.checkpoint.path), file.plan, file.resume_point
        if plan is None or right is None:
            return None, None
        if plan.begins is None or due.begins is None:
            return right, right
        epochs = plan.begins - due.begins
        length = 1 if self.unit == "epoch" or due.begins_at_step else self.steps_per_epoch
        if epochs and length is None:
            return None, right
        skipped = (plan.skip_batches or 0) - (due.skip_batches or 0) if self.unit == "step" else 0
        return max(0.0, right + epochs * (length or 0) + skipped // self.batches_per_step), right


def _some(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@record(frozen=True)
class Report(Shown):
    """The result of a scan: runs in path order, files within each."""

    runs: tuple[RunReport, ...]
    seconds: float
    paths: tuple[Path, ...] = ()
    display: Callable[[Report, str], str] | None = field(default=None, compare=False, repr=False)
    """Makes what a person sees, `table` or `html`: a function of a module, so that the report can be pickled."""

    def __repr__(self) -> str:
        outlooks = [file.outlook for file in self.files]
        counts = ", ".join(f"{outlooks.count(word)} {word}" for word in dict.fromkeys(outlooks))
        told = f"{_some(len(outlooks), 'checkpoint')} in {_some(len(self.runs), 'run')}"
        return f"Report({told}: {counts})" if counts else f"Report({told})"

    @property
    def files(self) -> Sequence[FileReport]:
        """All files of all runs."""
        return [file for run in self.runs for file in run.files]

    @property
    def findings(self) -> Sequence[Finding]:
        """All findings, run-level ones first."""
        return [
            f for run in self.runs for found in (run.findings, *(file.findings for file in run.files)) for f in found
        ]


@record(frozen=True)
class Adopted:
    """A storage that is to be copied from another file."""

    key: str
    """Its name in the file that it comes to."""
    donor: Path
    stamp: FileStamp
    """Of the donor when it was read."""
    offset: int
    nbytes: int
    crc: int | None
    """Stored in the donor; None where it has no checksums."""
