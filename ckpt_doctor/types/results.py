"""What the commands return: of a comparison, a migration and its write, an undo, a salvage, a prune, a lint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Literal

from ckpt_doctor.types.advice import Advice
from ckpt_doctor.types.checkpoint import Checkpoint, NotChecked
from ckpt_doctor.types.edit import Edit
from ckpt_doctor.types.judgement import FileReport, Finding, Located, Refusal
from ckpt_doctor.types.record import Shown, briefly, record
from ckpt_doctor.types.values import KeyPath, TensorInfo, path_name

DifferenceKind = Literal["added", "removed", "changed", "dtype", "shape", "device", "bytes"]
Mode = Literal["replace", "in-place", "output"]
Status = Literal["migrated", "planned", "unchanged", "refused", "failed", "undone"]
Recovery = Literal["rolled-back", "cleaned"]
"""What a run did about an earlier write that was cut off. `rolled-back`: bytes of an unfinished migration were cut off
again. `cleaned`: the path was whole, and only what lay beside it (journal, pending undo data) was removed."""
Proof = Literal["file", "rest", "checksums", "none"]
"""What showed that an undo gives back the old bytes: a hash of the whole file; one of everything but the tensors, which
no migration touches; their stored checksums, where an older version kept no hash; nothing."""


@record(frozen=True)
class Difference:
    """One thing that is not the same in both."""

    path: KeyPath
    kind: DifferenceKind
    """`added`: only in B. `dtype`, `shape`, `device`, `bytes` are of tensors, `changed` of all other values."""
    left: object
    """In A: a number, text, or a short description."""
    right: object

    @property
    def name(self) -> str:
        """The path as people write it."""
        return path_name(self.path)


@record(frozen=True)
class Comparison:
    """Two checkpoints side by side."""

    values: tuple[Difference, ...]
    """Of everything but tensors: the training state, keys, optimizer settings."""
    tensors: tuple[Difference, ...]
    unchanged_tensors: int
    """Tensors of the same path, type and shape (and, with `deep`, of the same bytes)."""
    deep: bool
    not_compared: tuple[str, ...] = ()
    """Tensors whose bytes could not be read in one of the files."""

    __repr__ = briefly

    @property
    def differs(self) -> bool:
        """Whether anything is not the same, in what was compared."""
        return bool(self.values or self.tensors)

    @property
    def same(self) -> bool:
        """Whether everything was compared and nothing differs."""
        return not self.differs and not self.not_compared


@record(frozen=True)
class Cost:
    """Extra disk space of a write, in bytes, told before anything is written."""

    during: int
    """At the peak. Where the file system shares blocks between the old file and its copy it is less."""
    after: int
    """Once it is done: what undo needs included. Negative when the new program is the smaller one."""
    free: int | None
    """Bytes that this user may still write there; None where the file system does not say."""


@record(frozen=True)
class Receipt:
    """A finished write."""

    path: Path
    """The file that now holds the result (a symbolic link resolved)."""
    notes: tuple[str, ...] = ()
    """What the user should know, one sentence each (a hard link broken, an attribute not kept)."""


@record(frozen=True)
class UndoReceipt:
    """A migration taken back."""

    previous_size: int
    """Size before the undo."""
    new_size: int
    proof: Proof = "none"
    notes: tuple[str, ...] = ()


@record(frozen=True)
class MigrationResult:
    """What became of one file."""

    path: Path
    status: Status
    edits: tuple[Edit, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    message: str = ""
    receipt: Receipt | None = None
    before: tuple[Finding, ...] = ()
    after: tuple[Finding, ...] = ()
    """Findings of the result; those of `before` where nothing was written."""
    notes: tuple[str, ...] = ()
    earlier: int = 0
    """How many migrations the file had before this one."""
    written: Checkpoint | None = field(default=None, compare=False)
    """The file as it was read back; None where nothing was written."""

    __repr__ = briefly

    @property
    def complete(self) -> bool:
        """Whether all that was asked for was done, needs not be done, or in a dry run would be."""
        return self.status not in ("failed", "refused") and not self.refusals


class Migrations(Shown, list[MigrationResult]):
    """What became of each checkpoint, as a list that shows itself."""

    def __init__(
        self,
        results: Iterable[MigrationResult] = (),
        display: Callable[[Sequence[MigrationResult], str], str] | None = None,
    ) -> None:
        super().__init__(results)
        self.display = display

    def __repr__(self) -> str:
        statuses = [result.status for result in self]
        counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
        return f"Migrations({counts})"


@record(frozen=True)
class Latest:
    """What a search for the checkpoint to resume from came to."""

    run_dir: Path
    file: FileReport | None
    """The newest that is safe to resume from, judged as the gate does."""
    passed_over: tuple[tuple[Path, str], ...]
    """Newer ones, each with the reason."""
    advice: Advice | None = None
    """What to do about the run, whatever is safe as it is."""

    __repr__ = briefly


@record(frozen=True)
class SalvageResult:
    """What was recovered, and what is lost."""

    source: Path
    output: Path
    recovered: tuple[str, ...]
    """Names of the tensors in the output."""
    lost: tuple[str, ...]
    """Names of the tensors whose bytes are missing or do not match their checksum."""
    taken_apart: tuple[str, ...]
    """Names of the tensors that no single storage holds (sparse, quantized, distributed): in the output stand, by that
    name, the plain tensors that they are made of, as far as those are complete."""
    left_out: tuple[str, ...]
    """Other values that weights_only loading would refuse (numpy arrays, objects), by path."""
    good_for: Literal["resume", "weights", "parts"]
    """`resume`: nothing that a trainer needs is missing; `weights`: the model is whole, the optimizer is not."""
    nbytes: int
    """Size of the output."""

    __repr__ = briefly


@record(frozen=True)
class ExportResult:
    """The weights that were written alone."""

    source: Path
    output: Path
    written: tuple[str, ...]
    """Names of the tensors in the output."""
    shared: Mapping[str, str]
    """Other names of the same bytes -> the name under which they are written."""
    left_out: tuple[str, ...]
    """Values among the weights that are no tensors."""
    nbytes: int
    """Size of the output."""


@record(frozen=True)
class Statistics:
    """What the numbers of one tensor are, NaN and infinite ones left aside."""

    minimum: int | float | None
    """None, like the other three, where no number is finite."""
    maximum: int | float | None
    mean: float | None
    std: float | None
    """Of all elements, not of a sample of them: the sum of squares is divided by their number."""
    zeros: int
    non_finite: int


@record(frozen=True)
class Measured:
    """One tensor and its statistics, or why there are none."""

    tensor: TensorInfo
    statistics: Statistics | None
    why_not: str = ""


@record(frozen=True)
class Spared:
    """A folder beyond the limit that was not removed, and why."""

    path: Path
    reason: str


@record(frozen=True)
class Uncounted:
    """A folder that does not count towards the limit, and the codes that say why."""

    path: Path
    codes: tuple[str, ...]


@record(frozen=True)
class PruneResult:
    """What pruning did, or with `dry_run` would do."""

    kept: tuple[Path, ...]
    """The resumable folders that count towards the limit, newest first."""
    uncounted: tuple[Path, ...]
    """Folders between them that the trainer could not resume from: kept for repair or salvage, and not counted."""
    removed: tuple[Path, ...]
    spared: tuple[Spared, ...]
    freed: int
    """Bytes on disk."""
    dry_run: bool = False
    deep: bool = False
    """Whether every byte of the kept ones was read, now or earlier."""
    departing: tuple[Path, ...] = ()
    """Resumable folders between them whose resume leaves the uninterrupted run's path for good: kept, not counted."""
    reasons: tuple[Uncounted, ...] = ()
    """What was found in each departing or uncounted folder."""
    preferred: Path | None = None
    """The folder that `latest` prefers."""
    display: Callable[[PruneResult], str] | None = field(default=None, compare=False, repr=False)
    """Makes what `print` shows: a function of a module, so that the result can be pickled."""

    __repr__ = briefly

    def __str__(self) -> str:
        return self.display(self) if self.display else repr(self)


@record(frozen=True)
class Linted:
    """What linting found in some scripts."""

    scripts: tuple[Path, ...]
    findings: tuple[Located, ...]
    """In order of file and line."""
    not_checked: tuple[NotChecked, ...] = ()
    """Files or cells that are no readable Python, and questions that the code leaves open."""

    __repr__ = briefly
