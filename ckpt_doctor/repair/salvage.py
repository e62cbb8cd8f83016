"""Rebuilds a readable checkpoint from a damaged one: every tensor whose bytes are all there, bit for bit.

A safetensors file becomes a safetensors file. Every other container becomes a torch archive, which holds what the old
one says, less what is lost and less what `torch.load(weights_only=True)` would refuse; numpy numbers become Python's
and storages are tagged `cpu`, so that it opens anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Literal

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert.dtypes import STORAGE_DTYPES, item_size
from ckpt_doctor.inert.known_globals import WEIGHTS_ONLY
from ckpt_doctor.inert.pickle_writer import dump
from ckpt_doctor.inert.shapes import is_weight
from ckpt_doctor.inert.tensor_list import bytes_needed, find_tensors, inner_tensors, is_plain, walk_tensors
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.deep import deep_check
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.safetensors import as_spelled
from ckpt_doctor.readers.tensor_bytes import byte_order
from ckpt_doctor.remote import RemotePath, as_path, local
from ckpt_doctor.repair.fetching import fetch, room_beside
from ckpt_doctor.types import (
    Checkpoint,
    DeepResult,
    Global,
    InertDict,
    NumpyScalar,
    Opaque,
    SalvageResult,
    StorageInfo,
    TensorInfo,
    TensorRef,
)
from ckpt_doctor.writer.files import write_new
from ckpt_doctor.writer.safetensors_file import Part, verify_safetensors, write_safetensors
from ckpt_doctor.writer.torch_archive import write_archive

_CHUNK = 1 << 20


def salvage(path: Path | str, output: Path | str) -> SalvageResult:
    """Write what can be recovered from `path` to the new file `output`, atomically.

    Raises:
        WriteRefused: `output` exists or is `path` itself, its suffix promises another container than is written, or
            nothing can be recovered.
        OSError: the system refuses to read or write.
    """
    path, output = as_path(path), local(output)
    if output.exists():
        raise WriteRefused(f"{output} exists already: salvage writes new files only")
    if isinstance(path, RemotePath):
        with room_beside(output.parent) as room:
            copy = fetch(path, room / path.name)
            try:
                return replace(salvage(copy, output), source=path)
            except WriteRefused as error:  # when this is read the copy is gone
                raise WriteRefused(str(error).replace(str(copy), str(path))) from None
    checkpoint = open_checkpoint(path)
    if not checkpoint.tensors:
        reason = checkpoint.damage[0].message if checkpoint.damage else "it holds no tensors"
        raise WriteRefused(f"nothing can be recovered from {path}: {reason}")
    if checkpoint.container == "distcp":
        why = "it is one file of a distributed checkpoint, and the names of its tensors are in another one"
        raise WriteRefused(f"nothing is recovered from {path}: {why}")
    _ensure_suffix(path, output, checkpoint)
    every = (*checkpoint.tensors, *checkpoint.inner)
    deep = deep_check(checkpoint).deep or DeepResult()
    if any(d.kind == "corrupt-record" and d.where.endswith(".pkl") for d in (*checkpoint.damage, *deep.damage)):
        why = "the description of its tensors does not match its checksum, so nobody knows which bytes are whose"
        raise WriteRefused(f"nothing can be recovered from {path}: {why}")
    lost = _lost(checkpoint, deep.lost)
    plain = checkpoint.container == "safetensors"
    tree = _Kept() if plain else _kept(checkpoint.root, lost)
    whole = [tensor for tensor in checkpoint.tensors if _key(tensor.storage) not in lost]
    kept = whole if plain else find_tensors(tree.root).all
    if not kept:
        raise WriteRefused(f"nothing can be recovered from {path}: no tensor is complete")
    with FileView(path) as view:
        if checkpoint.stamp is not None and view.stamp != checkpoint.stamp:
            raise WriteRefused(f"{path} changed while it was read")
        order = "big" if byte_order(checkpoint) == ">" else "little"
        write = (
            partial(_safetensors, view, kept, checkpoint.metadata) if plain else partial(_archive, view, tree, order)
        )
        nbytes = write_new(output, write)
    gone = [tensor.name for tensor in every if _key(tensor.storage) in lost]
    undescribed = _undescribed(checkpoint)
    return SalvageResult(
        source=path,
        output=output,
        recovered=tuple(tensor.name for tensor in kept),
        lost=(*gone, *undescribed),
        taken_apart=tuple(tree.taken_apart),
        left_out=tuple(tree.left_out),
        good_for="parts" if undescribed else _good_for(checkpoint, lost, tree.taken_apart),
        nbytes=nbytes,
    )


def _ensure_suffix(path: Path, output: Path, checkpoint: Checkpoint) -> None:
    """Raise `WriteRefused` where the suffix promises another container: loaders go by .safetensors, and by no other."""
    if checkpoint.container == "safetensors" and output.suffix != ".safetensors":
        raise WriteRefused(f"{path} is salvaged to a safetensors file: give {output.name} the suffix .safetensors")
    if checkpoint.container != "safetensors" and output.suffix == ".safetensors":
        kind = checkpoint.container
        raise WriteRefused(f"{path} ({kind}) is salvaged to a torch archive: give {output.name} the suffix .pt")


_Key = tuple[str, "int | None"]


def _key(storage: StorageInfo) -> _Key:
    return storage.key, storage.offset


def _lost(checkpoint: Checkpoint, bad: Collection[str]) -> set[_Key]:
    """Storages whose bytes are not all there, or not what was written; `bad` are keys of those that are corrupt."""
    lost = _overlapping(checkpoint.tensors) if checkpoint.container == "safetensors" else set()
    for tensor in (*checkpoint.tensors, *checkpoint.inner):
        storage = tensor.storage
        gone = storage.nbytes > 0 and (storage.offset is None or storage.offset + storage.nbytes > checkpoint.size)
        if gone or storage.key in bad or bytes_needed(tensor) > storage.nbytes:
            lost.add(_key(storage))
    return lost


def _overlapping(tensors: Sequence[TensorInfo]) -> set[_Key]:
    """Storages that claim bytes of another one: the header is damaged, and which of the two is right is open."""
    found: set[_Key] = set()
    furthest: StorageInfo | None = None
    end = 0
    for storage in sorted((t.storage for t in tensors if t.storage.nbytes), key=lambda storage: storage.offset or 0):
        start = storage.offset or 0
        if furthest is not None and start < end:
            found |= {_key(furthest), _key(storage)}
        if start + storage.nbytes > end:
            furthest, end = storage, start + storage.nbytes
    return found


def _undescribed(checkpoint: Checkpoint) -> list[str]:
    """Tensors of a safetensors file whose entry in the header is damaged."""
    if checkpoint.container != "safetensors":
        return []
    described = {tensor.name for tensor in checkpoint.tensors}
    damaged = (d.where for d in checkpoint.damage if d.kind == "missing-record" and d.found is None)
    return [name for name in damaged if name and name not in described]


def _good_for(
    checkpoint: Checkpoint, lost: set[_Key], taken_apart: Collection[str]
) -> Literal["resume", "weights", "parts"]:
    apart = set(taken_apart)
    missing = [tensor for tensor in checkpoint.tensors if _key(tensor.storage) in lost or tensor.name in apart]
    if not missing:
        return "resume" if checkpoint.layout == "training" else "weights"

    of_model = checkpoint.layout == "state-dict" or any(is_weight(checkpoint, tensor.path) for tensor in missing)
    return "parts" if of_model or checkpoint.layout == "other" else "weights"


@dataclass
class _Kept:
    """The new tree, the storages it needs by their key in it, and the paths of what had to be left out."""

    root: object = None
    storages: dict[_Key, tuple[str, StorageInfo]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    taken_apart: list[str] = field(default_factory=list)


_GONE = object()
_INTEGERS = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
"""What `Tensor.int_repr()` of a quantized tensor is."""
_ATOMS = (str, int, float, bytes, bytearray, complex, type(None))


def _kept(root: object, lost: set[_Key]) -> _Kept:
    """A copy of the tree with what may stand in the new file: containers, plain values, complete tensors.

    What is gone is left out of dicts and is None in lists and tuples. Sharing and cycles stay; depth is no limit.
    """
    kept = _Kept()
    made: dict[int, object] = {}
    alive: list[object] = []  # `made` goes by id
    fills: list[tuple[dict[object, object] | list[object], object]] = []
    rest: list[tuple[object, str]] = [(root, "")]

    def result(value: object) -> object:
        return value if isinstance(value, _ATOMS) else made[id(value)]

    while rest:
        value, path = rest[-1]
        if isinstance(value, _ATOMS) or id(value) in made:
            rest.pop()
            continue
        if isinstance(value, Opaque) or (isinstance(value, TensorRef) and not is_plain(value)):
            flat = _parts(value)
            alive.append(flat)
            if isinstance(value, TensorRef):
                kept.taken_apart.append(path)
            if flat:
                found: dict[object, object] = {}
                made[id(value)] = found
                fills.append((found, flat))
                rest.extend((tensor, path) for tensor in flat.values())
            else:
                made[id(value)] = _GONE
                if isinstance(value, Opaque):
                    kept.left_out.append(path)
        elif isinstance(value, dict):
            made[id(value)] = new = _dict_like(value)
            fills.append((new, value))
            states = value.source.states if isinstance(value, InertDict) else []
            rest.extend((part, f"{path}.{key}".lstrip(".")) for key, part in reversed(value.items()))
            rest.extend((state, path) for state in states)
        elif isinstance(value, list):
            items: list[object] = []
            made[id(value)] = items
            fills.append((items, value))
            rest.extend((part, f"{path}.{index}".lstrip(".")) for index, part in reversed(list(enumerate(value))))
        elif isinstance(value, tuple):
            missing = [part for part in value if not isinstance(part, _ATOMS) and id(part) not in made]
            if missing:
                rest.extend((part, path) for part in missing)
            else:
                made[id(value)] = tuple(None if result(part) is _GONE else result(part) for part in value)
        else:
            made[id(value)] = leaf = _leaf(value, lost, kept.storages)
            if leaf is _GONE and not isinstance(value, TensorRef):
                kept.left_out.append(path)
    for container, original in fills:
        _fill(container, original, result)
    kept.root = result(root)
    return kept


def _dict_like(value: dict[object, object]) -> dict[object, object]:
    if isinstance(value, InertDict) and str(value.source.callee) == "collections.OrderedDict":
        return InertDict(Opaque(value.source.callee, ()))
    return {}


def _fill(new: dict[object, object] | list[object], old: object, result: Callable[[object], object]) -> None:
    if isinstance(new, list) and isinstance(old, list):
        new.extend(None if result(part) is _GONE else result(part) for part in old)
    elif isinstance(new, dict) and isinstance(old, dict):
        for key, part in old.items():
            plain = isinstance(key, _ATOMS) or (isinstance(key, tuple) and all(isinstance(x, _ATOMS) for x in key))
            if plain and result(part) is not _GONE:
                new[key] = result(part)
        if isinstance(new, InertDict) and isinstance(old, InertDict):
            new.source.states = [result(state) for state in old.source.states if result(state) is not _GONE]


def _leaf(value: object, lost: set[_Key], storages: dict[_Key, tuple[str, StorageInfo]]) -> object:
    if isinstance(value, NumpyScalar):
        return value.value
    if isinstance(value, set) and all(isinstance(part, _ATOMS) for part in value):
        return set(value)
    if isinstance(value, Global) and str(value) in WEIGHTS_ONLY:
        return value
    if not isinstance(value, TensorRef) or _key(value.storage) in lost:
        return _GONE
    return _tensor(value, storages)


def _parts(value: Opaque | TensorRef) -> dict[str, TensorRef]:
    """The tensors of an object (a pickled module's weights), or those that a tensor is made of."""
    if isinstance(value, TensorRef):
        parts = {".".join(map(str, at)) or "data": part for at, part in inner_tensors(value) if is_plain(part)}
        integer = _INTEGERS.get(value.dtype)
        if integer is not None:
            storage = replace(value.storage, dtype=integer)
            source = Opaque(Global("torch._utils", "_rebuild_tensor_v2"), value.source.args)
            parts["int_repr"] = replace(value, storage=storage, dtype=integer, is_parameter=False, source=source)
        return parts
    return {".".join(map(str, at)): tensor for at, tensor in walk_tensors(value) if tensor is not None}


def _tensor(tensor: TensorRef, storages: dict[_Key, tuple[str, StorageInfo]]) -> TensorRef:
    """The same view of the same bytes, through the calls that every torch knows, on the CPU."""
    old = tensor.storage
    key, _ = storages.setdefault(_key(old), (str(len(storages)), old))
    typed = old.dtype in STORAGE_DTYPES.values() and old.dtype == tensor.dtype
    storage = replace(
        old,
        key=key,
        location="cpu",
        dtype=old.dtype if typed else "uint8",
        numel=old.numel if typed else old.nbytes,
    )
    hooks = InertDict(Opaque(Global("collections", "OrderedDict"), ()))
    about = (storage, tensor.storage_offset, tensor.shape, tensor.stride, False, hooks)
    if typed:
        source = Opaque(Global("torch._utils", "_rebuild_tensor_v2"), about)
    else:
        source = Opaque(Global("torch._utils", "_rebuild_tensor_v3"), (*about, Global("torch", tensor.dtype)))
    plain = replace(tensor, storage=storage, source=source, is_parameter=False)
    if not tensor.is_parameter:
        return plain
    trained = tensor.source.args[1] if isinstance(tensor.source.args, tuple) and len(tensor.source.args) > 1 else True
    outer = InertDict(Opaque(Global("collections", "OrderedDict"), ()))
    call = Opaque(Global("torch._utils", "_rebuild_parameter"), (plain, trained is not False, outer))
    return replace(plain, source=call, is_parameter=True)


def _archive(view: FileView, tree: _Kept, byteorder: str, file: IO[bytes]) -> None:
    program = dump(tree.root)
    storages = ((f"data/{key}", old.nbytes, _bytes_of(view, old)) for key, old in tree.storages.values())
    described = (("data.pkl", len(program), [program]), ("byteorder", len(byteorder), [byteorder.encode()]))
    # kProducedFileFormatVersion for tensors
    write_archive(file, (*described, *storages, ("version", 2, [b"3\n"])))


def _safetensors(
    view: FileView, tensors: Sequence[TensorInfo], metadata: Mapping[str, str], file: IO[bytes]
) -> Callable[[Path], None]:
    # The largest elements first, as the package does: each tensor is then aligned to its own
    tensors = sorted(tensors, key=lambda tensor: -item_size(tensor.dtype))
    parts = [Part(t.name, *as_spelled(t), t.storage.nbytes, _bytes_of(view, t.storage)) for t in tensors]
    write_safetensors(file, parts, metadata)
    return partial(verify_safetensors, parts=parts)


def _bytes_of(view: FileView, storage: StorageInfo) -> Iterator[bytes]:
    start = storage.offset or 0
    for at in range(start, start + storage.nbytes, _CHUNK):
        count = min(_CHUNK, start + storage.nbytes - at)
        raw = view.read_at(at, count)
        if len(raw) < count:
            raise WriteRefused(f"{view.path} became shorter while it was read")
        yield raw
