"""A checkpoint of several files seen as one: the tensors and values of all its parts, by the paths of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckpt_doctor.types import Checkpoint, KeyPath, TensorInfo, mapping_of

Held = tuple[TensorInfo, Checkpoint]
"""A tensor by its path in the whole, and the file that holds its bytes."""


def parts_of(checkpoint: Checkpoint) -> Iterator[tuple[KeyPath, Checkpoint]]:
    """The parts with the key path at which each stands in the whole; a single file is its own, at no path.

    The files of a sharded model stand at one path: the name of the file that would hold them all. So it makes no
    difference how a model is cut into files.
    """
    if not checkpoint.parts:
        yield (), checkpoint
        return
    shards = checkpoint.metadata.get("shards", {})
    for name, part in zip(mapping_of(checkpoint.root) or (), checkpoint.parts, strict=True):
        whole = shards.get(name, name)
        yield (whole,) if whole else (), part


def tensors_of(checkpoint: Checkpoint) -> list[Held]:
    """The tensors of all parts."""
    return [(_at(path, tensor), part) for path, part in parts_of(checkpoint) for tensor in part.tensors]


def inner_of(checkpoint: Checkpoint) -> list[Held]:
    """The tensors of all parts that others are made of."""
    return [(_at(path, tensor), part) for path, part in parts_of(checkpoint) for tensor in part.inner]


def _at(path: KeyPath, tensor: TensorInfo) -> TensorInfo:
    return replace(tensor, path=(*path, *tensor.path)) if path else tensor


def content_of(checkpoint: Checkpoint) -> object:
    """The root of the whole, in which a sharded model is one; what describes its files is left out."""
    if not checkpoint.parts:
        return checkpoint.root
    shards, names = checkpoint.metadata.get("shards", {}), mapping_of(checkpoint.root) or {}
    content: dict[object, object] = {}
    for (name, root), (path, _) in zip(names.items(), parts_of(checkpoint), strict=True):
        if name not in shards:
            content[name] = root
        elif not str(name).endswith((".json", ".metadata")):
            whole = content.setdefault(path[0], {}) if path else content
            inside = mapping_of(root)
            if isinstance(whole, dict) and inside is not None:
                whole.update(inside)
    return content
