"""What `plan` makes and `apply` carries out: values that can be printed, compared and kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ckpt_doctor.audit import Ask, codes
from ckpt_doctor.migrators import Fix
from ckpt_doctor.trainers import fix_names
from ckpt_doctor.types import (
    Case,
    Checkpoint,
    Cost,
    Edit,
    FileReport,
    Finding,
    MigrationResult,
    Mode,
    Refusal,
)
from ckpt_doctor.types.record import record
from ckpt_doctor.writer import PartChange

NAMES = fix_names()
"""Of all fixes."""


@record(frozen=True)
class Request(Ask):
    """What is requested for every file of a plan."""

    fixes: Collection[str] = NAMES
    """Their names."""
    score: float | None = None
    """best_score given by hand."""
    epoch: int | None = None
    """Finished epochs of a bare state_dict, given by hand."""
    mode: Mode = "replace"
    output: Path | None = None

    @cached_property
    def everything(self) -> bool:
        """Whether all fixes are asked for: those that findings call for."""
        return set(self.fixes) == set(NAMES)

    @cached_property
    def ignored(self) -> Collection[str]:
        """Codes of findings that a person accepts."""
        return codes(self.ignore)

    def counting(self, file: FileReport) -> list[Finding]:
        """The findings that call for something: above info, and not accepted."""
        return [finding for finding in file.serious if finding.code not in self.ignored]


@dataclass(frozen=True)
class FilePlan:
    """The edits for one file, with the case and the findings that they come from."""

    case: Case
    before: FileReport
    edits: tuple[Edit, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    applied: tuple[Fix, ...] = ()
    reason: str = ""
    """Why there is nothing to do, where no refusal says it."""
    changes: tuple[PartChange, ...] = ()
    """What the edits make of a unit's parts; empty for a file, and where they cannot be made."""
    cost: Cost | None = None
    """None where nothing will be written, or where the cost is not known."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The file as it was read."""
        return self.case.checkpoint

    @property
    def counted(self) -> str:
        """`1 edit`, `4 edits`."""
        return f"{len(self.edits)} edit{'s' * (len(self.edits) != 1)}"

    @property
    def result(self) -> MigrationResult:
        """What a dry run says of the file."""
        planned = f"{self.counted}, nothing written (--dry-run)" if self.edits else ""
        return MigrationResult(
            self.checkpoint.path,
            "planned" if self.edits else "refused" if self.refusals else "unchanged",
            self.edits,
            self.refusals,
            message=planned or self.reason,
            before=self.before.findings,
            after=self.before.findings,
            notes=self.notes,
            earlier=len(self.checkpoint.migrations),
        )


@dataclass(frozen=True)
class RunPlan:
    """The files of one run: evidence for each other, and written under one lock."""

    folder: Path
    files: tuple[FilePlan, ...]
    read: tuple[Checkpoint, ...]
    """The checkpoints of the files, and those beside them that were read as evidence."""


@dataclass(frozen=True)
class RepairPlan:
    """What a repair will do, before anything is written."""

    request: Request
    runs: tuple[RunPlan, ...]

    @property
    def files(self) -> list[FilePlan]:
        """The plans of all files, run by run."""
        return [file for run in self.runs for file in run.files]

    @property
    def read(self) -> dict[Path, Checkpoint]:
        """All that was read for the plan."""
        return {checkpoint.path: checkpoint for run in self.runs for checkpoint in run.read}

    @property
    def called_for(self) -> list[str]:
        """Names of the fixes that the findings call for, whichever were asked for."""
        named = {f.migration for file in self.files for f in self.request.counting(file.before)}
        return [name for name in NAMES if name in named]

    @property
    def results(self) -> list[MigrationResult]:
        """What a dry run says of each file."""
        return [file.result for file in self.files]

    @property
    def costs(self) -> list[Cost]:
        """The cost of each file that will be written, where it is known."""
        return [file.cost for file in self.files if file.cost is not None]
