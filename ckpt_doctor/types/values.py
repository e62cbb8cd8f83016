"""What a pickle builds, without building it."""

from __future__ import annotations

import math
import sys
from dataclasses import field
from typing import Any, Literal

from ckpt_doctor.types.record import record

KeyPath = tuple["str | int", ...]
"""Keys and indices from the root of a checkpoint: `("optimizer", "param_groups", 0, "lr")`."""


def path_name(path: KeyPath) -> str:
    """A path as people write it: `model.word_embeddings`; for what the file holds without a key, `(root)`."""
    return ".".join(map(str, path)) if path else "(root)"


def dotted(path: KeyPath) -> str:
    """A path as people write it, with indices in brackets: `optimizer.param_groups[0].lr`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


@record(frozen=True, slots=True)
class Global:
    """A name that a pickle refers to (`torch._utils._rebuild_tensor_v2`); recorded, never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def is_standard(self) -> bool:
        """Whether it lies in torch, numpy or the standard library."""
        root = self.module.partition(".")[0]
        return root in ("torch", "numpy") or root in sys.stdlib_module_names


@record(eq=False, slots=True)
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
    if type(value) is dict or isinstance(value, dict):
        return value
    if type(value) is Opaque and value.pairs and not value.items:
        return {key: item for key, item in value.pairs if isinstance(key, (str, int))}
    return None


class InertDict(dict[object, object]):
    """A dict subclass of the pickle (`OrderedDict`, `defaultdict`, `Counter`): its items, and how it is made again."""

    __slots__ = ("source",)

    def __init__(self, source: Opaque) -> None:
        self.source = source
        """The constructor call; `source.states` holds e.g. a state_dict's `_metadata`."""


@record(frozen=True, slots=True)
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
    raw: bytes | None = field(default=None, compare=False, repr=False)
    """The bytes of a number, where reading the file has brought them along."""


CPU_GENERATOR = 5056
"""Bytes in the state of torch's generator for the CPU."""


@record(eq=False, slots=True)
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
    value: int | float | bool | bytes | None = None
    """Its number, where it has one element, or its bytes, where it may be the state of a random generator
    (`trainers.*.training_state` has them read)."""

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@record(eq=False, slots=True)
class NumpyScalar:
    """A pickled numpy scalar (`numpy.float64` best_score), decoded without numpy's unpickler."""

    value: Any
    """The same number as a Python object."""
    dtype: str
    source: Opaque


def python_value(value: object) -> object:
    """The Python number of a numpy scalar; all else as it is."""
    return value.value if isinstance(value, NumpyScalar) else value


@record(frozen=True, slots=True)
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
        return path_name(self.path)
