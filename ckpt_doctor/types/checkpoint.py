"""A file, read inertly."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from ckpt_doctor.types.record import Shown, briefly, record
from ckpt_doctor.types.values import Global, KeyPath, NumpyScalar, TensorInfo, mapping_of

Container = Literal[
    "torch-zip",
    "torch-legacy",
    "torch-tar",
    "torchscript",
    "safetensors",
    "pickle",
    "json",
    "text",
    "distcp",
    "sb3-zip",
    "nemo-tar",
    "folder",
    "unknown",
]
"""`folder` is a unit of several files (`Checkpoint.parts`); `json`, `text` (a name in a file of its own, as in
DeepSpeed's `latest`) and `distcp` are only ever parts of one; `sb3-zip` is Stable-Baselines3's,
`nemo-tar` a model of NeMo."""
Layout = Literal["state-dict", "training", "other"]
MODEL_KEYS = ("model", "state_dict", "model_state_dict", "model_state", "net", "network", "module", "weights", "params")
"""Under which keys trainers keep a model's state_dict."""
WRAPPERS = ("_orig_mod.", "module.")
"""Key prefixes of `torch.compile` and of DistributedDataParallel/DataParallel."""


def wrapper_of(model: object) -> str | None:
    """The wrapper prefix that all keys of a state_dict share, however deep (`module._orig_mod.`); None without one."""
    first = next(iter(model), None) if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(first, str) or not first.startswith(WRAPPERS):
        return None
    keys = [key for key in model if isinstance(key, str)]
    if len(keys) != len(model):
        return None
    prefix = ""
    while wrapper := next((w for w in WRAPPERS if all(key.startswith(prefix + w) for key in keys)), None):
        prefix += wrapper
    return prefix or None


@record(frozen=True, slots=True)
class Damage:
    """Something wrong with the file as a file. `kind` is the name of the F or S rule that reports it."""

    kind: str
    message: str
    """One sentence: what is wrong and what it does to a load."""
    where: str = ""
    """Record, tensor or byte range."""
    found: object = None
    expected: object = None


@record(frozen=True)
class NotChecked:
    """Something the tool did not look at or could not decide. Never silent: every report lists these."""

    what: str
    why: str
    settle: str
    """The option or file that would settle it: `--deep`, `--steps-per-epoch`."""


A_COPY = "a local copy"
"""What settles all that is not looked at behind a URL, where each look is a request."""


@record(frozen=True)
class FileStamp:
    """Identity of a file's content at the time it was read, to notice that it changed since."""

    device: int
    inode: int
    size: int
    mtime_ns: int


def stamp_of(status: os.stat_result) -> FileStamp:
    """The identity of a file's content, by what the system says of the file."""
    return FileStamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@record(frozen=True)
class Program:
    """Where the pickle that describes the checkpoint lies in its file."""

    offset: int
    length: int
    record: str
    """Its zip or tar entry name; empty in a stream."""


@record(frozen=True)
class MigrationRecord:
    """The record of one earlier migration, as found in the file or beside it."""

    when: str
    """UTC, ISO 8601."""
    tool_version: str
    edits: tuple[Mapping[str, Any], ...]
    """`{"key", "before", "after", "evidence"}` as JSON values."""
    previous_size: int


@record(frozen=True)
class DeepResult:
    """What reading every byte showed."""

    damage: tuple[Damage, ...] = ()
    non_finite: Mapping[str, int] = field(default_factory=dict)
    """Tensor name -> number of NaN or infinite elements; only tensors that have any."""
    nan: Mapping[str, int] = field(default_factory=dict)
    """The same of NaN alone."""
    lost: frozenset[str] = frozenset()
    """Keys of the storages whose bytes are not what was saved: corrupt, unreadable, or of another length."""
    not_checked: tuple[NotChecked, ...] = ()
    bytes_read: int = 0


@record(frozen=True)
class Counted:
    """What a checkpoint held whose content was dropped."""

    tensors: int
    parameters: int


@record(frozen=True)
class Checkpoint(Shown):
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
    inner: tuple[TensorInfo, ...] = ()
    """Tensors that others are made of, where they have bytes of their own: a sparse one's indices, a DTensor's shard,
    what hangs on a tensor as an attribute. No entry of `tensors` stands for these bytes."""
    globals: tuple[Global, ...] = ()
    """Every global the programs name, in order of first mention."""
    damage: tuple[Damage, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    stamp: FileStamp | None = None
    program: Program | None = None
    """None where there is nothing to edit (safetensors, unreadable files)."""
    migrations: tuple[MigrationRecord, ...] = ()
    """Oldest first."""
    checksums: Mapping[str, int] = field(default_factory=dict)
    """Storage key -> stored CRC-32; empty where the container has none."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Facts of the container: format version, byteorder, torch version hints, safetensors metadata."""
    bytes_read: int = 0
    deep: DeepResult | None = None
    parts: tuple[Checkpoint, ...] = ()
    """The files of a unit that is a folder or a set, each read on its own; empty for a single file. The unit's own
    `root` maps each part's name (relative to `path`, with `/`) to that part's root, so a key path begins with a name;
    `tensors`, `program` and `checksums` are only the parts', `size` is their sum."""
    counted: Counted | None = None
    """Of an outline (`inert.counting.outline`); `root` has the top-level keys then, and nothing below them."""
    display: Callable[[Checkpoint, str], str] | None = field(default=None, compare=False, repr=False)
    """As of a report."""

    __repr__ = briefly

    def get(self, *path: str | int) -> object:
        """The value at a key path, None where any step is missing; numpy scalars as Python numbers."""
        value: object = self.root
        for key in path:
            mapping = value if type(value) is dict else mapping_of(value)
            if mapping is not None:
                value = mapping.get(key)
            elif isinstance(value, (list, tuple)) and isinstance(key, int) and -len(value) <= key < len(value):
                value = value[key]
            else:
                return None
        return value.value if isinstance(value, NumpyScalar) else value

    def name_of(self, part: Checkpoint) -> str:
        """With which name the key paths of a part begin: its path below the unit, or beside the index that names it."""
        if part.path.parent == self.path:  # as nearly all are
            return part.path.name
        folder = self.path if part.path.is_relative_to(self.path) else self.path.parent
        return part.path.relative_to(folder).as_posix()

    @property
    def keys(self) -> tuple[str, ...]:
        """Top-level keys, as text; empty when the root is not a mapping."""
        return tuple(map(str, mapping_of(self.root) or ()))

    @property
    def has_editable_tags(self) -> bool:
        """Whether edits reach the device tags: in a tar file and a plain pickle they lie among the storages' bytes."""
        return self.program is not None and self.container not in ("torch-tar", "pickle")

    @property
    def earlier_edits(self) -> list[Mapping[str, Any]]:
        """The edits of all migrations, as their records have them, oldest first."""
        return [edit for migration in self.migrations for edit in migration.edits]

    def is_damaged(self, *kinds: str) -> bool:
        """Whether `damage` holds any of these kinds (any at all when none is named)."""
        return bool(self.damage) and any(not kinds or d.kind in kinds for d in self.damage)


def model_path(checkpoint: Checkpoint) -> KeyPath:
    """Where the model's state_dict stands: nowhere deeper for bare weights, else under the first of `MODEL_KEYS`."""
    if checkpoint.layout == "state-dict":
        return ()
    found = (key for key in MODEL_KEYS if isinstance(checkpoint.get(key), dict))
    return (next(found, MODEL_KEYS[0]),)
