"""A model in several files and the index that says which of them holds which tensor.

Source: huggingface_hub/serialization/_base.py, `split_state_dict_into_shards_factory`; transformers reads the index
alone (`get_checkpoint_shard_files`), and takes `metadata.total_size` for nothing but an estimate.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from math import prod

from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.readers.parts import Findings, Parts, missing_part
from ckpt_doctor.types import Checkpoint, Damage, NotChecked, mapping_of, real

_MOST_NAMED = 3
"""Tensors that a message names."""


def weight_map(index: Checkpoint | None) -> dict[str, list[str]]:
    """File -> the tensors that the index places there; empty where it places none."""
    placed: dict[str, list[str]] = defaultdict(list)
    mapping = index.get("weight_map") if index is not None else None
    for tensor, file in mapping.items() if isinstance(mapping, dict) else ():
        if isinstance(file, str) and file:
            placed[file].append(str(tensor))
    return placed


def examine(parts: Parts, index: str, has_other_weights: Callable[[Collection[str]], bool]) -> Findings:
    """Whether the files that an index names are there, whole, and hold what it says.

    `has_other_weights` tells whether beside the given files there are other weights, complete.
    """
    found = Findings()
    opened = parts.open(index)
    if opened is None or opened.root is None:
        why = "the index cannot be read"
        found.not_checked.append(NotChecked(f"whether all files of {shown(index)} are there", why, "a whole index"))
        return found
    folder = index[: index.rfind("/") + 1]
    placed = {folder + name: tensors for name, tensors in weight_map(opened).items()}
    if not placed:
        message = f"{shown(index)} is the index of a sharded model and names no file (it has no weight_map)"
        found.damage.append(Damage("missing-part", f"{message}; loading raises", shown(index)))
        return found
    sizes = {name: parts.size(name) for name in placed}
    absent = {name: size for name, size in sizes.items() if isinstance(size, str)}
    if len(absent) == len(placed) and has_other_weights(placed):
        message = f"none of the {len(placed):,} files that {shown(index)} names is there, but other weights are"
        found.damage.append(Damage("stale-index", f"{message}: what reads this index raises", shown(index)))
        return found
    found.lacks(missing_part(name, f"{why} ({_told(placed[name])})", index) for name, why in absent.items())
    shards = dict(parts.open_all(name for name in placed if name not in absent))
    _contents(found, index, placed, shards)
    if not found.damage:
        _total(found, index, opened, list(shards.values()), sum(map(len, placed.values())))
    return found


def _told(tensors: Sequence[str]) -> str:
    names = ", ".join(shown(name) for name in tensors[:_MOST_NAMED])
    more = f" and {len(tensors) - _MOST_NAMED:,} more" if len(tensors) > _MOST_NAMED else ""
    return f"{names}{more}"


def _contents(
    found: Findings, index: str, placed: Mapping[str, Sequence[str]], shards: Mapping[str, Checkpoint]
) -> None:
    """Whether each file is as long as it says itself, and holds the tensors that the index places in it."""
    held = {name: names for name, shard in shards.items() if (names := _names(shard)) is not None}
    anywhere = set().union(*held.values())
    moved = 0
    for name, shard in shards.items():
        cut = next((damage for damage in shard.damage if damage.kind in ("truncated-archive", "empty-file")), None)
        if cut is not None:
            there = f"{shard.size:,} of {cut.expected:,} bytes" if isinstance(cut.expected, int) else "not all bytes"
            message = f"{shown(name)}, which {shown(index)} calls for, has {there}; loading raises"
            found.damage.append(Damage("missing-part", message, shown(name), shard.size, cut.expected))
        gone = [tensor for tensor in placed[name] if name in held and tensor not in held[name]]
        lost = [tensor for tensor in gone if tensor not in anywhere]
        moved += len(gone) - len(lost)
        if lost:
            message = f"{shown(name)} lacks {len(lost):,} tensors that {shown(index)} places in it ({_told(lost)})"
            found.damage.append(Damage("missing-part", f"{message}; loading leaves them at random", shown(name)))
    if moved:
        message = f"{moved:,} tensors lie in another file than {shown(index)} says"
        found.damage.append(Damage("stale-index", f"{message}: some readers look only there", shown(index)))


def _names(shard: Checkpoint) -> set[str] | None:
    """The tensors of a file, with the other names of shared ones, which safetensors keeps as metadata.

    Source: safetensors/torch.py, `save_model`.
    """
    mapping = mapping_of(shard.root)
    if mapping is None or any(damage.kind == "missing-record" for damage in shard.damage):
        return None
    shared = shard.metadata if shard.container == "safetensors" else {}
    return {str(name) for name in (*mapping, *shared)}  # an optimizer's are numbers


def _total(found: Findings, index: str, opened: Checkpoint, shards: Sequence[Checkpoint], count: int) -> None:
    """Whether the `count` tensors have as many bytes as the index says. No reader needs the number: a note.

    Where tensors share their bytes, writers count them once or twice.
    """
    said = real(opened.get("metadata", "total_size"))
    tensors = [tensor for shard in shards for tensor in shard.tensors]
    nbytes = sum(tensor.nbytes for tensor in tensors)
    if said is not None and nbytes < said and len(tensors) == count and not any(shard.inner for shard in shards):
        message = f"the tensors have {nbytes:,} bytes, and {shown(index)} says {said:,.0f}: it belongs to other files"
        found.damage.append(Damage("stale-index", message, shown(index), nbytes, said))


def examine_pieces(parts: Parts, names: Sequence[str]) -> Findings:
    """Whether the files of several processes, each with pieces of the tensors, have all pieces.

    Each file says where its pieces begin; how large a tensor is, and how many processes there were, none says. So a
    hole between pieces is seen, and that nothing follows the last one is not.

    Source: torch/distributed/checkpoint/hf_storage.py, `HuggingFaceStorageWriter`, and filesystem.py,
    `_write_item_to_safetensors` (DCP_SHARDING_INFO).
    """
    found, pieces = Findings(), defaultdict[str, set[tuple[tuple[int, ...], tuple[int, ...]]]](set)
    for name in names:
        opened = parts.open(name)
        said = _places(opened)
        for tensor in opened.tensors if opened is not None else ():
            held = str(tensor.path[0]) if tensor.path else ""
            pieces[held].add((_begins(said.get(held), len(tensor.shape)), tensor.shape))
    holed = sorted(name for name, held in pieces.items() if _has_hole(held))
    if holed:
        message = f"pieces of {_told(holed)} are in none of the {len(names):,} files: a process's file is missing"
        found.damage.append(Damage("missing-part", f"{message}; loading leaves them at random", shown(names[0])))
    else:
        what, why = "whether the last processes' files are there", "no file says how many processes there were"
        found.not_checked.append(NotChecked(what, why, ""))
    return found


def _places(opened: Checkpoint | None) -> Mapping[str, object]:
    """Where a file says that its pieces begin."""
    try:
        said = json.loads(str(opened.metadata["DCP_SHARDING_INFO"])) if opened is not None else {}
    except (KeyError, TypeError, ValueError, RecursionError):
        said = {}
    return said if isinstance(said, dict) else {}


def _begins(place: object, dimensions: int) -> tuple[int, ...]:
    """Where a piece of a tensor begins; at 0 where that is not said."""
    said = place.get("saved_offsets") if isinstance(place, dict) else None
    is_told = isinstance(said, list) and len(said) == dimensions and all(type(n) is int and n >= 0 for n in said)
    return tuple(said) if is_told and isinstance(said, list) else (0,) * dimensions


def _has_hole(pieces: Collection[tuple[tuple[int, ...], tuple[int, ...]]]) -> bool:
    """Whether pieces do not fill the box around them and the origin; those of DCP do not overlap."""
    ends = [tuple(b + n for b, n in zip(begins, shape, strict=True)) for begins, shape in pieces]
    if len(set(map(len, ends))) != 1:
        return False
    box = prod(max(end) for end in zip(*ends, strict=True))
    return bool(sum(prod(shape) for _, shape in pieces) < box)
