"""The core values that pass between the stages: read -> understand -> judge -> repair -> report.

Only data. Readers make `Checkpoint`s; a trainer's package makes `TrainingState`, `Run` and `ResumePoint` of them;
rules turn a `Case` into `Finding`s; migrations turn it into `Edit`s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

T_co = TypeVar("T_co", covariant=True)

Container = Literal["torch-zip", "torch-legacy", "torch-tar", "torchscript", "safetensors", "pickle", "unknown"]
Layout = Literal["state-dict", "training", "other"]
Role = Literal["best", "step"]
Severity = Literal["error", "warning", "info"]
Verdict = Literal["ok", "repairable", "broken"]
KeyPath = tuple["str | int", ...]
"""Keys and indices from the root of a checkpoint: `("optimizer", "param_groups", 0, "lr")`."""
MODEL_KEYS = ("model", "state_dict", "model_state_dict", "model_state", "net", "network", "module", "weights", "params")
"""Under which keys trainers keep a model's state_dict."""


# --- what a pickle builds, without building it -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Global:
    """A name that a pickle refers to (`torch._utils._rebuild_tensor_v2`); recorded, never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Opaque:
    """The result of a call that a pickle asks for, recorded instead of made.

    Holds all that is needed to write the same program again. Equality is identity, as for the object it stands for.
    """

    callee: object
    """What would be called: a `Global`, or whatever a hostile program put there."""
    args: object
    """Positional arguments: normally a tuple."""
    kwargs: object = None
    """Keyword arguments (NEWOBJ_EX only)."""
    via: Literal["reduce", "newobj", "newobj_ex", "inst", "persid", "ext"] = "reduce"
    """The opcode that made it. `persid`: a persistent id that is not a torch storage, held in `args`."""
    items: list[object] = field(default_factory=list)
    """What APPEND(S)/ADDITEMS added."""
    pairs: list[tuple[object, object]] = field(default_factory=list)
    """What SETITEM(S) set."""
    states: list[object] = field(default_factory=list)
    """What BUILD passed to `__setstate__`, in order (nearly always at most one)."""

    def __repr__(self) -> str:
        return f"<{self.callee if isinstance(self.callee, Global) else 'call'}>"


def mapping_of(value: object) -> dict[Any, object] | None:
    """A dict as it is; an object that is filled like one (a dict subclass of some package) by its plain keys."""
    if isinstance(value, dict):
        return value
    if type(value) is Opaque and value.pairs and not value.items:
        return {key: item for key, item in value.pairs if isinstance(key, (str, int))}
    return None


class InertDict(dict[object, object]):
    """A dict subclass of the pickle (`OrderedDict`, `defaultdict`, `Counter`): its items, and how it is made again."""

    __slots__ = ("source",)

    def __init__(self, source: Opaque) -> None:
        super().__init__()
        self.source = source
        """The constructor call; `source.states` holds e.g. a state_dict's `_metadata`."""


@dataclass(frozen=True, slots=True)
class StorageInfo:
    """A contiguous region of tensor bytes that one or several tensors view."""

    key: str
    """Its name in the container: `"0"` for the zip record `<prefix>/data/0`."""
    dtype: str
    """Element type as torch names it without the prefix: `"float32"`, `"uint8"` for an untyped storage."""
    location: str
    """The device tag as saved: `"cpu"`, `"cuda:0"`, `"mps"`."""
    numel: int
    """Elements of `dtype`."""
    nbytes: int
    """Bytes that the pickle calls for (the record may be shorter: that is `Damage`)."""
    offset: int | None = None
    """Where its bytes start in the file; None when they were not found or are not contiguous on disk."""


@dataclass(eq=False, slots=True)
class TensorRef:
    """A tensor as the pickle describes it: a view of a storage. One object per distinct tensor object in the file."""

    storage: StorageInfo
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    storage_offset: int
    """In elements of `dtype`."""
    is_parameter: bool
    source: Opaque
    """The rebuild call, from which the pickle can be written again."""

    @property
    def numel(self) -> int:
        """Number of elements."""
        n = 1
        for size in self.shape:
            n *= size
        return n


@dataclass(eq=False, slots=True)
class NumpyScalar:
    """A pickled numpy scalar (`numpy.float64` best_score), decoded without numpy's unpickler."""

    value: Any
    """The same number as a Python object."""
    dtype: str
    source: Opaque


def real(value: object) -> float | None:
    """A Python or numpy number as float; None for anything else, and for an integer that no float holds."""
    if isinstance(value, NumpyScalar):
        value = value.value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


LOG_PRECISION = 6e-8
"""How far two scores may lie apart and be one: the log prints a validation loss with seven decimals."""


def same_score(a: float | None, b: float | None) -> bool:
    """Whether two scores are one, up to what the log leaves off; NaN is NaN, and None only None."""
    if a is None or b is None:
        return a is b
    return a == b or (a != a and b != b) or abs(a - b) <= LOG_PRECISION


def same_rate(a: float | None, b: float | None) -> bool:
    """Whether two rates are one but for rounding."""
    return a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-300)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a checkpoint, by the first path that reaches it."""

    path: KeyPath
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    device: str
    nbytes: int
    """numel x element size; views of one storage each count their own elements."""
    storage: StorageInfo
    storage_offset: int

    @property
    def name(self) -> str:
        """The path as people write it: `model.word_embeddings`."""
        return ".".join(map(str, self.path))


# --- a file ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Damage:
    """Something wrong with the file as a file. `kind` is the name of the F or S rule that reports it."""

    kind: str
    message: str
    """One sentence: what is wrong and what it does to a load."""
    where: str = ""
    """Record, tensor or byte range."""
    found: object = None
    expected: object = None


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Something the tool did not look at or could not decide. Never silent: every report lists these."""

    what: str
    why: str
    settle: str
    """The option or file that would settle it: `--deep`, `--lradj`."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Identity of a file's content at the time it was read, to notice that it changed since."""

    device: int
    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Program:
    """Where the pickle that describes the checkpoint lies in its file."""

    offset: int
    length: int
    record: str
    """Its zip or tar entry name; empty in a stream."""


@dataclass(frozen=True, slots=True)
class Migration:
    """The record of one earlier migration, as found in the file or beside it."""

    when: str
    """UTC, ISO 8601."""
    tool_version: str
    edits: tuple[Mapping[str, Any], ...]
    """`{"key", "before", "after", "evidence"}` as JSON values."""
    previous_size: int


@dataclass(frozen=True, slots=True)
class DeepResult:
    """What reading every byte showed."""

    damage: tuple[Damage, ...] = ()
    non_finite: Mapping[str, int] = field(default_factory=dict)
    """Tensor name -> number of NaN or infinite elements; only tensors that have any."""
    nan: Mapping[str, int] = field(default_factory=dict)
    """The same of NaN alone."""
    not_checked: tuple[NotChecked, ...] = ()
    bytes_read: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """One file, read inertly. What could not be read is in `damage`; the rest is as the file says."""

    path: Path
    size: int
    container: Container
    layout: Layout
    root: object
    """The unpickled structure: plain Python values, `InertDict`, `TensorRef`, `NumpyScalar`, `Opaque`, `Global`.
    None when there is no readable program."""
    tensors: tuple[TensorInfo, ...] = ()
    """Every distinct tensor object of the file once."""
    globals: tuple[Global, ...] = ()
    """Every global the programs name, in order of first mention."""
    damage: tuple[Damage, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    stamp: FileStamp | None = None
    program: Program | None = None
    """None where there is nothing to edit (safetensors, unreadable files)."""
    migrations: tuple[Migration, ...] = ()
    """Oldest first."""
    checksums: Mapping[str, int] = field(default_factory=dict)
    """Storage key -> stored CRC-32; empty where the container has none."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Facts of the container: format version, byteorder, torch version hints, safetensors metadata."""
    bytes_read: int = 0
    deep: DeepResult | None = None

    def get(self, *path: str | int) -> object:
        """The value at a key path, None where any step is missing; numpy scalars as Python numbers."""
        value: object = self.root
        for key in path:
            mapping = mapping_of(value)
            if mapping is not None:
                value = mapping.get(key)
            elif isinstance(value, (list, tuple)) and isinstance(key, int) and -len(value) <= key < len(value):
                value = value[key]
            else:
                return None
        return value.value if isinstance(value, NumpyScalar) else value

    @property
    def keys(self) -> tuple[str, ...]:
        """Top-level keys, as text; empty when the root is not a mapping."""
        return tuple(map(str, mapping_of(self.root) or ()))

    def is_damaged(self, *kinds: str) -> bool:
        """Whether `damage` holds any of these kinds (any at all when none is named)."""
        return any(not kinds or d.kind in kinds for d in self.damage)


# --- a training run --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evidence(Generic[T_co]):
    """A value and where it came from: `Evidence(45, "checkpoint: 90 steps at epoch 2")`."""

    value: T_co
    source: str
    given: bool = False
    """True when a person gave it (an option, an argument), which outranks inference."""


@dataclass(frozen=True, slots=True)
class TrainingState:
    """What a checkpoint says about the progress of training, in plain Python numbers; None where absent."""

    epoch: int | None = None
    global_step: int | None = None
    scheduler: Literal["OneCycleLR", "CosineAnnealingLR", "other"] | None = None
    last_epoch: int | None = None
    step_count: int | None = None
    total_steps: int | None = None
    optimizer_step: int | None = None
    """Adam's `step`, where all parameters agree and its bytes are readable."""
    lr: float | None = None
    """Of param group 0."""
    beta1: float | None = None
    best_score: float | None = None
    val_loss_min: float | None = None
    counter: int | None = None


@dataclass(frozen=True)
class Facts:
    """What must be known of the training command and is not in a checkpoint. None: not settled."""

    steps_per_epoch: Evidence[int] | None = None
    """`len(train_loader)` as the trainer takes it (before Accelerate shards it)."""
    train_epochs: Evidence[int] | None = None
    lradj: Evidence[str] | None = None
    learning_rate: Evidence[float] | None = None
    """`--learning_rate` of the next resume command; OneCycleLR's `max_lr` in the first run."""
    base_lr: Evidence[float] | None = None
    """OneCycleLR's initial rate (`max_lr / 25`), the base of an uninterrupted idle run, as its log printed it."""
    pct_start: Evidence[float] | None = None
    patience: Evidence[int] | None = None
    shuffle: Evidence[bool] | None = None
    """Whether the train loader shuffles; stands in no file and no log."""
    world_size: Evidence[int] | None = None
    """Processes that train together. None: nothing tells, and one is as good a guess as any."""
    world_size_open: bool = False
    """Whether the files rule one process out, or more than one is likelier: then nothing is computed from a guess."""
    generation: Evidence[str] | None = None
    """`legacy`, `first-patch` or `complete`: which trainer will resume."""
    log: Evidence[Path] | None = None
    lradj_candidates: tuple[str, ...] = ()
    """The modes that remain possible while `lradj` is None."""
    contradictions: tuple[str, ...] = ()
    """Facts that cannot be true together, one sentence each."""
    disproved: Mapping[str, str] = field(default_factory=dict)
    """Given facts that the run's own files rule out: name -> the contradiction."""


@dataclass(frozen=True, slots=True)
class EarlyStoppingState:
    """EarlyStopping between two epochs (trainer-side `best_score`, `val_loss_min`, `counter`)."""

    best_score: float | None = None
    val_loss_min: float | None = None
    counter: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """What the optimizer's param groups and the scheduler hold at one moment, one value per param group."""

    lr: tuple[float, ...]
    beta1: tuple[float, ...] | None
    """Adam's `betas[0]`; None where the schedule leaves it alone."""
    last_lr: tuple[float, ...]
    """The scheduler's `_last_lr`."""


@dataclass(frozen=True)
class ResumePoint:
    """The state that an uninterrupted run has when it begins the batch where the trainer will resume.

    A field is None when the facts do not settle it; `unsettled` then says what would.
    """

    start_epoch: int | None = None
    """0-based epoch in which the trainer starts."""
    skip_batches: int | None = None
    global_step: int | None = None
    last_epoch: int | None = None
    """Of the scheduler; 0 in the idle modes."""
    lr: tuple[float, ...] | None = None
    """Per param group, for the first batch after the resume."""
    beta1: tuple[float, ...] | None = None
    last_lr: tuple[float, ...] | None = None
    """The scheduler's `_last_lr`."""
    early_stopping: Evidence[EarlyStoppingState] | None = None
    disagreement: str = ""
    """Two sources that tell different EarlyStopping states, in one clause; empty when all agree."""
    finished_epochs: int | None = None
    """Epochs whose validation belongs before the resume point."""
    epoch: int | None = None
    """The value of the file's `epoch` key that makes the trainer start there."""
    flags: tuple[str, ...] = ()
    """What the resume command must carry: `("--learning_rate", "4e-06")`."""
    base_lr: float | None = None
    """Idle modes: the base rate of the uninterrupted run (OneCycleLR's initial rate)."""
    unsettled: Mapping[str, str] = field(default_factory=dict)
    """Field -> the option or file that would settle it."""


@dataclass(frozen=True)
class ResumePlan:
    """What the trainer will do, and what the uninterrupted run would: the body of `check`."""

    start_epoch: int | None
    skip_batches: int | None
    global_step: int | None
    next_lr: float | None
    """The rate of the first batch after the resume, from the file as it is."""
    next_lr_uninterrupted: float | None
    best_score: float | None
    counter: int | None
    steps_left: int | None
    flags: tuple[str, ...] = ()
    why_not_exact: tuple[str, ...] = ()
    start_elsewhere: tuple[int, int] | None = None
    """Epoch and batches to skip with a trainer that reads `best_score`, where the run's own trainer does not read it
    and starts elsewhere."""


@dataclass(frozen=True)
class Upgrade:
    """What stands beside the model once a bare state_dict is a training checkpoint; or why it cannot become one."""

    values: Mapping[str, Evidence[object]] = field(default_factory=dict)
    """Key -> value and where it comes from, in the order in which they are written."""
    refusal: str = ""
    """Why there is not enough evidence; empty when there is."""
    settle: str = ""
    """What to give then."""
    notes: tuple[str, ...] = ()
    donor: Checkpoint | None = None
    """The file that the tensors among the values lie in."""


@dataclass(frozen=True)
class LateRandomState:
    """A `rng_state` that was taken when this epoch's order had already been drawn, and what would take its place."""

    why: str
    """What happened between the epoch's beginning (or the next one's) and the save, in one clause."""
    cure: Evidence[object] | None = None
    """The value that gives the uninterrupted run's order; None where no file holds it."""
    donor: Checkpoint | None = None
    """The file that the value's tensors lie in."""


@dataclass(frozen=True)
class Member:
    """A checkpoint as part of a run."""

    checkpoint: Checkpoint
    state: TrainingState
    role: Role | None
    named_step: int | None = None
    """N of `checkpoint_step_N`."""


@dataclass(frozen=True)
class Run:
    """One run folder: its checkpoints, its log, and what they say of the training command."""

    path: Path
    trainer: str
    """Name of the trainer whose format this is: `time-llm`; empty when none recognises it."""
    members: tuple[Member, ...]
    facts: Facts = field(default_factory=Facts)
    unjudged: tuple[Path, ...] = ()
    """Files in the same place that are none of the trainer's or could not be read to the end."""
    history: object = None
    """The run's part of its log, in the trainer's own terms (`trainers.time_llm.log.History`)."""


@dataclass(frozen=True)
class Case:
    """All that a rule or a migration may look at: one checkpoint in its run."""

    checkpoint: Checkpoint
    member: Member
    run: Run
    resume: ResumePoint
    plan: ResumePlan | None = None
    """What the trainer will do with the file; None when it cannot resume from it."""
    schedule: Rates | None = None
    """What the file's own schedule position calls for; None when the mode is not known or the file lacks the means."""
    upgrade: Upgrade | None = None
    """For a bare state_dict of a run: what its upgrade would write."""
    late_random_state: LateRandomState | None = None
    gate: bool = False
    """True when the question is `will the trainer resume from this very file` (check, migrate), not `what is here`."""

    @property
    def state(self) -> TrainingState:
        """The checkpoint's training state."""
        return self.member.state


@dataclass(frozen=True, slots=True)
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


# --- judgement and repair --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Edit:
    """One planned change, with the reason it may be made.

    `op` is `set` (path gets `after`), `strip` (the keys of the state_dict at path lose the prefix `before`), `wrap`
    (the root becomes a dict in which the old root stands at `path`) or `relocate` (storages tagged `before` become
    `after`)."""

    path: KeyPath
    before: object
    after: object
    evidence: str
    op: Literal["set", "strip", "wrap", "relocate"] = "set"
    donor: Checkpoint | None = None
    """The file that the tensors in `after` lie in; None where there are none, or none from elsewhere."""

    @property
    def key(self) -> str:
        """The path as people write it: `optimizer.param_groups[0].lr`; empty for the whole file."""
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return text.removeprefix(".")


@dataclass(frozen=True)
class Refusal:
    """A repair that was asked for and not planned: no evidence, or nothing that a file edit can do."""

    migration: str
    reason: str
    settle: str
    """What to give or do so that it can be done."""


@dataclass(frozen=True)
class FileReport:
    """One file, judged."""

    member: Member
    resume: ResumePoint
    plan: ResumePlan | None
    findings: tuple[Finding, ...]
    not_checked: tuple[NotChecked, ...]
    verdict: Verdict

    @property
    def checkpoint(self) -> Checkpoint:
        """The file's checkpoint."""
        return self.member.checkpoint


@dataclass(frozen=True)
class RunReport:
    """One run folder, judged as a whole."""

    run: Run
    findings: tuple[Finding, ...]
    files: tuple[FileReport, ...]


Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Curve:
    """A run as lines: the rate over its steps, and the validation losses. Empty where the facts do not tell."""

    run: Path
    rates: Points = ()
    """(optimizer step, learning rate) of the uninterrupted run, in order of steps."""
    resumed: tuple[tuple[str, Points], ...] = ()
    """The same for resumes that go another way, each with a name."""
    losses: Points = ()
    """(epoch as the log counts, from 1; validation loss)."""
    best_epoch: int | None = None
    steps_per_epoch: int | None = None
    """Optimizer steps of each process in an epoch."""


@dataclass(frozen=True)
class Report:
    """The result of a scan: runs in path order, files within each."""

    runs: tuple[RunReport, ...]
    seconds: float
    paths: tuple[Path, ...] = ()

    def _repr_html_(self) -> str:
        """What a notebook shows (IPython's display protocol)."""
        from ckpt_doctor.reports.notebook import report_fragment  # here, for the report's stages know nothing of output

        return report_fragment(self)

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
