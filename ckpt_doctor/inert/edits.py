"""Edits of an inert tree: the names of what they bring from other files, and the tree with the edits made."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ckpt_doctor.errors import EditRefused
from ckpt_doctor.inert.tree import transform
from ckpt_doctor.types import Adopted, Checkpoint, Edit, InertDict, KeyPath, StorageInfo


def adopt(edits: Sequence[Edit], checkpoint: Checkpoint) -> tuple[list[Edit], list[Adopted]]:
    """Give the storages that edits bring from other files names of this one.

    Returns the edits with these names, and what is to be copied for them: each storage once. Names are numbers, as
    torch's, from the first that is free. EditRefused for a storage that does not lie in its file in one piece.
    """
    taken = [int(t.storage.key) for t in checkpoint.tensors if t.storage.key.isdecimal()]
    taken += [int(key) for key in checkpoint.checksums if key.isdecimal()]
    free = itertools.count(max(taken, default=-1) + 1)
    adopted: dict[tuple[int, str], Adopted] = {}

    def renamed(edit: Edit) -> Edit:
        donor = edit.donor
        if donor is None:
            return edit

        def rename(value: object) -> object:
            if not isinstance(value, StorageInfo) or not value.nbytes:
                return value
            known = adopted.get((id(donor), value.key))
            if known is None:
                if value.offset is None or donor.stamp is None:
                    raise EditRefused(f"the bytes of storage {value.key} were not found in {donor.path}")
                crc = donor.checksums.get(value.key)
                known = Adopted(str(next(free)), donor.path, donor.stamp, value.offset, value.nbytes, crc)
                adopted[id(donor), value.key] = known
            return replace(value, key=known.key)

        return replace(edit, after=transform(edit.after, rename))

    return [renamed(edit) for edit in edits], list(adopted.values())


def apply(root: object, edits: Sequence[Edit]) -> object:
    """A copy of the tree with the edits made, in their order. EditRefused where that cannot be."""
    return apply_in_place(transform(root, lambda value: value), edits)


def apply_in_place(tree: object, edits: Sequence[Edit]) -> object:
    """As `apply`, of a tree that nobody else holds: it is changed itself, for a copy of a long log costs seconds."""
    for edit in edits:
        try:
            tree = _edited(tree, edit)
        except LookupError:
            raise EditRefused(f"{edit.key} is to be changed, but the file has no such place") from None
    return tree


def _edited(tree: object, edit: Edit) -> object:
    if edit.op == "wrap":
        return {edit.path[0]: tree}
    if edit.op == "set":
        return _with(tree, edit.path, edit.after)
    if edit.op == "strip":
        _strip(_at(tree, edit.path), str(edit.before))
        return tree
    return _relocated(tree, str(edit.before), str(edit.after))


def _at(tree: Any, path: KeyPath) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _with(tree: Any, path: KeyPath, value: object) -> object:
    """Set a value; tuples on the way are made anew."""
    if not path:
        return value
    key: Any = path[0]
    child = _with(tree[key], path[1:], value) if len(path) > 1 else value
    if isinstance(tree, tuple):
        return (*tree[:key], child, *tree[key + 1 :])
    tree[key] = child
    return tree


def _strip(state_dict: dict[Any, Any], prefix: str) -> None:
    """Take a prefix off every key, and off the module names of `_metadata`.

    As torch/nn/modules/utils.py, `consume_prefix_in_state_dict_if_present`; key order stays.
    """
    items = [(key.removeprefix(prefix), value) for key, value in state_dict.items()]
    if len({key for key, _ in items}) < len(items):
        raise EditRefused(f"two keys would be the same without {prefix}")
    state_dict.clear()
    state_dict.update(items)
    if not isinstance(state_dict, InertDict):
        return
    for state in state_dict.source.states:
        metadata = state.get("_metadata") if isinstance(state, dict) else None
        if isinstance(metadata, dict):
            # The wrapper's own entries ("" and "module") make way for the bare model's.
            modules = {
                f"{k}."[len(prefix) :].removesuffix("."): v for k, v in metadata.items() if f"{k}.".startswith(prefix)
            }
            metadata.clear()
            metadata.update(modules)


def _relocated(tree: object, old: str, new: str) -> object:
    def move(value: object) -> object:
        return replace(value, location=new) if isinstance(value, StorageInfo) and value.location == old else value

    return transform(tree, move)
