"""Writes the weights of a checkpoint alone, as the safetensors file that the package's own writer would make of them.

That writer takes all tensors from memory; here they pass through a buffer, and the package reads the result back before
it counts. Bytes that several tensors share are written once, the other names go into the metadata, as
`safetensors.torch.save_model` does.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from ckpt_doctor import audit
from ckpt_doctor.errors import UsageError, WriteRefused
from ckpt_doctor.inert import limits
from ckpt_doctor.inert.shapes import find
from ckpt_doctor.inert.tensor_list import describe, is_contiguous, is_plain, left_to_do, walk_tensors
from ckpt_doctor.inert.units import parts_of
from ckpt_doctor.readers.part_names import shard_of
from ckpt_doctor.readers.safetensors import as_spelled, has_type, place_of
from ckpt_doctor.readers.storage_bytes import StorageReader
from ckpt_doctor.remote import as_path, local
from ckpt_doctor.types import (
    Checkpoint,
    ExportResult,
    Global,
    KeyPath,
    Opaque,
    TensorInfo,
    TensorRef,
    dotted,
    mapping_of,
    path_name,
)
from ckpt_doctor.writer.files import write_new
from ckpt_doctor.writer.safetensors_file import Part, verify_safetensors, write_safetensors

SUFFIX = ".safetensors"
_MOST_NAMES = 5
_METADATA = {"format": "pt"}
"""Without it transformers refuses the file (modeling_utils.py, `load_state_dict`)."""


@dataclass(frozen=True)
class _Held:
    """One tensor of the weights."""

    tensor: TensorInfo
    """Its path is its name in the output."""
    ref: TensorRef
    file: Checkpoint

    @property
    def stretch(self) -> object:
        """The same for two names of the same bytes."""
        t = self.tensor
        place = (t.storage.key, t.storage.offset) if t.storage.key and t.nbytes else t.path
        return self.file.path, place, t.storage_offset, t.shape, t.stride, t.dtype


def export(path: Path | str, output: Path | str, *, key: str = "") -> ExportResult:
    """Write the weights of a checkpoint to the new safetensors file `output`, atomically.

    Args:
        path: a file, a folder or the index of a sharded model.
        output: must end with `.safetensors` and not be there.
        key: the part to write, where it is not the model: `ema`, `optimizer`, `pytorch_model.bin`.

    Returns:
        What was written.

    Raises:
        UsageError: there are several models and no `key`, or nothing of that name.
        WriteRefused: `output` exists, a tensor is not whole, a shard is not there, or the format has no place for one.

    Example:
        >>> export("checkpoints/run/checkpoint", "weights.safetensors").written[0]
        'embed.weight'

    Source:
        safetensors/src/tensor.rs, `prepare`, for the order of the tensors; bindings/python/py_src/safetensors/torch.py,
        `save_model`, for shared ones.
    """
    path, output = as_path(path), local(output)
    if output.suffix != SUFFIX:
        raise UsageError(f"{output.name}: the weights are written as safetensors; give the file the suffix {SUFFIX}")
    if output.exists():
        raise WriteRefused(f"{output} exists already: export writes new files only")
    checkpoint = audit.open_file(audit.resume_file(path))
    absent = [one for one in checkpoint.damage if one.kind == "missing-part" and shard_of(one.where)]
    if absent:
        raise WriteRefused(f"the weights are not whole: {absent[0].message}")
    held, left_out = _weights(checkpoint, key)
    kept: dict[object, _Held] = {}
    shared = {}
    for one in held:
        first = kept.setdefault(one.stretch, one)
        if first is not one:
            shared[one.tensor.name] = first.tensor.name
    with _Files() as files:
        _ensure_writable(kept.values(), files, checkpoint.size)
        written = sorted(kept.values(), key=lambda one: place_of(one.tensor))
        nbytes = write_new(output, partial(_write, written, files, {**_METADATA, **shared}))
    return ExportResult(path, output, tuple(one.tensor.name for one in written), shared, tuple(left_out), nbytes)


# --- which tensors ---------------------------------------------------------------------------------------------------


def _weights(checkpoint: Checkpoint, key: str) -> tuple[list[_Held], list[str]]:
    """The tensors of the chosen part by their names in it, and the names of other values among them."""
    files = list(parts_of(checkpoint))
    if any(file.container == "distcp" for _, file in files):
        how = "`python -m torch.distributed.checkpoint.format_utils dcp_to_torch` joins them into one file first"
        raise UsageError(f"{checkpoint.path} is a distributed checkpoint, whose tensors lie in pieces; {how}")
    chosen = list(_named(checkpoint, key) if key else _model(checkpoint))
    held: dict[str, _Held] = {}
    left_out = []
    for value, file in chosen:
        for path, part in _tensors(value):
            name = path_name(path)
            if not isinstance(part, TensorRef):
                left_out.append(name)
                continue
            if name in held:
                raise UsageError(f"two tensors are called {name}; choose one part with --key")
            held[name] = _Held(describe(part, path), part, file)
    if not held:
        raise UsageError(f"nothing to export from {checkpoint.path}: {key or 'it'} holds no tensors")
    if not any(one.tensor.nbytes for one in held.values()):
        why = "its tensors have no elements, as in DeepSpeed's ZeRO-3, whose zero_to_fp32.py gathers the weights"
        raise UsageError(f"nothing to export from {checkpoint.path}: {why}")
    return list(held.values()), left_out


def _tensors(value: object) -> Iterator[tuple[KeyPath, object]]:
    """Paths and tensors below a value; of a dict also its values that hold none.

    In the dict itself each name counts, even where two are one object; deeper each object comes once.
    """
    mapping = mapping_of(value)
    if mapping is None:
        yield from walk_tensors(value)
        return
    named = {key if isinstance(key, int) else str(key): item for key, item in mapping.items()}
    others = {name: item for name, item in named.items() if not isinstance(item, TensorRef)}
    below = [(path, tensor) for path, tensor in walk_tensors(others) if tensor is not None]
    yield from (((name,), item) for name, item in named.items() if name not in others)
    yield from below
    holding = {path[0] for path, _ in below}
    yield from (((name,), item) for name, item in others.items() if name not in holding)


def _model(checkpoint: Checkpoint) -> Iterator[tuple[object, Checkpoint]]:
    """The model of a checkpoint: each file that holds some of it, with what of it does."""
    found: dict[KeyPath, list[tuple[object, Checkpoint]]] = {}
    for prefix, file in parts_of(checkpoint):
        alone = file.layout == "state-dict" or isinstance(file.root, Opaque)
        if (alone and not checkpoint.parts) or file.container == "safetensors":
            found.setdefault(prefix, []).append((file.root, file))
            continue
        for model in find(file).trained:
            found.setdefault((*prefix, *model.path), []).append((model.value, file))
    if len(found) > 1:
        models = ", ".join(dotted(path) or "the file" for path in list(found)[:_MOST_NAMES])
        raise UsageError(f"{checkpoint.path} holds {len(found)} models ({models}); choose one with --key")
    if not found:
        if checkpoint.root is None and checkpoint.damage:
            raise UsageError(f"nothing to export from {checkpoint.path}: {checkpoint.damage[0].message}")
        keys = ", ".join(checkpoint.keys[:_MOST_NAMES]) or "none"
        raise UsageError(f"{checkpoint.path} holds no weights of a model; --key names another part (its keys: {keys})")
    return iter(next(iter(found.values())))


def _named(checkpoint: Checkpoint, key: str) -> Iterator[tuple[object, Checkpoint]]:
    """What a dotted key leads to, in each file of the checkpoint that has it."""
    found = [
        (value, file)
        for prefix, file in parts_of(checkpoint)
        for value in _below({prefix[0]: file.root} if prefix else file.root, key)
    ]
    if not found:
        keys = ", ".join(checkpoint.keys[:_MOST_NAMES]) or "none"
        raise UsageError(f"{checkpoint.path} has no part {key!r} (its keys: {keys})")
    return iter(found)


def _below(value: object, key: str) -> Iterator[object]:
    """The value of a dotted key, whose steps may have dots themselves: the longest that fits is taken."""
    name = ""
    while key:
        mapping = mapping_of(value) or (dict(enumerate(value)) if isinstance(value, (list, tuple)) else {})
        fitting = {str(step): step for step in mapping if f"{key}.".startswith(f"{step}.")}
        if not fitting:
            return
        name = max(fitting, key=len)
        value, key = mapping[fitting[name]], key[len(name) + 1 :]
    yield {name: value} if isinstance(value, TensorRef) else value


# --- writing ---------------------------------------------------------------------------------------------------------


class _Files:
    """The open file of a checkpoint of several: there may be more than a process may open."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.file: Checkpoint | None = None

    def reader(self, file: Checkpoint) -> StorageReader:
        """The file, opened anew where it is another one than before."""
        if self.file is not file:
            self.stack.close()
            self.open, self.file = self.stack.enter_context(StorageReader(file)), file
        return self.open

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()


def _ensure_writable(written: Collection[_Held], files: _Files, size: int) -> None:
    """Refuse where a tensor cannot be written as it is: weights that are not whole are of no use under this name."""
    wrong = [(one.tensor.name, why) for one in written if (why := _why_not(one, files))]
    if wrong:
        name, why = wrong[0]
        more = f"; {len(wrong) - 1:,} more tensors cannot be written either" if len(wrong) > 1 else ""
        raise WriteRefused(f"{name} cannot be written: {why}{more}")
    total = sum(one.tensor.nbytes for one in written)
    if total > limits.MAX_RECORD_RATIO * size:
        raise WriteRefused(f"the tensors are views that take {total:,} bytes when written out, of a file of {size:,}")


def _why_not(one: _Held, files: _Files) -> str:
    tensor = one.tensor
    plain = is_plain(one.ref) or one.file.container == "safetensors"
    if not plain or not has_type(tensor.dtype) or (tensor.dtype == "float4_e2m1fn_x2" and not tensor.shape):
        kind = one.ref.source.callee.name if not plain and isinstance(one.ref.source.callee, Global) else tensor.dtype
        return f"safetensors has no place for it ({kind})"
    if lazy := left_to_do(one.ref):
        return f"it is a {lazy} view, which is still to be computed"
    lacking = files.reader(one.file).lacks(tensor)
    return f"{lacking}; `ckpt-doctor salvage` writes what is whole" if lacking else ""


def _write(written: list[_Held], files: _Files, metadata: Mapping[str, str], file: IO[bytes]) -> partial[None]:
    parts = [Part(one.tensor.name, *as_spelled(one.tensor), one.tensor.nbytes, _content(one, files)) for one in written]
    write_safetensors(file, parts, metadata)
    return partial(verify_safetensors, parts=parts)


def _content(one: _Held, files: _Files) -> Iterator[bytes]:
    """The bytes of a tensor; WriteRefused where they are not what was saved, as far as the file tells."""
    reader, tensor = files.reader(one.file), one.tensor
    expected = one.file.checksums.get(tensor.storage.key)
    whole = is_contiguous(tensor) and tensor.nbytes == tensor.storage.nbytes and not reader.swaps
    checks = expected is not None and whole and one.file.metadata.get("checksums") != "none"
    crc = 0
    for piece in reader.dense(tensor):
        raw = piece.tobytes()
        crc = zlib.crc32(raw, crc) if checks else 0
        yield raw
    if checks and crc != expected:
        why = "its bytes do not match the stored checksum; `ckpt-doctor salvage` writes what is whole"
        raise WriteRefused(f"{tensor.name} cannot be written: {why}")
