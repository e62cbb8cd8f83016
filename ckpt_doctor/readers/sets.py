"""Sets of files that a loader reads as one checkpoint: recognised by their names, and examined."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path, PurePath
from typing import Literal

from ckpt_doctor.inert.moments import form_of, number_of
from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.readers import deepspeed, distributed, sharded
from ckpt_doctor.readers.json_file import open_json
from ckpt_doctor.readers.part_names import MARKERS, MEGATRON, PIECES, index_of, is_marker, leads_nowhere, shard_of
from ckpt_doctor.readers.parts import FOLDER, Findings, Parts, is_inside, missing_part
from ckpt_doctor.types import Damage, NotChecked
from ckpt_doctor.types.record import record

Kind = Literal["sharded", "distributed", "deepspeed", "marker", "folder"]
"""`folder`: all files in it, because its trainer says so."""
_SHARD_SUFFIXES = frozenset({"safetensors", "bin", "pt", "pth"})
_TAG = re.compile(r"global_step\d+(_universal)?|pytorch_model(_\d+)?")
"""What `latest` names where DeepSpeed, transformers or accelerate wrote it; its own users may choose other tags."""
_ITS_SCRIPT = "zero_to_fp32.py"
"""DeepSpeed copies it beside `latest` (`_copy_recovery_script`)."""
_SAVED = (".pth", ".pt", ".ckpt", ".pkl")
_BY_IT = "a resume by it stops or begins anew: make it name a checkpoint that is there"
_FSDP_OPTIMIZER = re.compile(r"optimizer_(\d+)")
"""Accelerate's folder of a sharded optimizer (accelerate/utils/fsdp_utils.py, `save_fsdp_optimizer`)."""


@record(frozen=True)
class FileSet:
    """Files of one folder that belong together."""

    kind: Kind
    folder: Path
    marker: str
    """The file that names the others; empty where their own names show that they belong together."""
    files: tuple[str, ...]
    """Their names, the marker's among them. Of a sharded model they are those that look like its files."""

    @property
    def path(self) -> Path:
        """The path that names the set: the index or marker, the folder, or the first of the files."""
        if self.kind in ("distributed", "deepspeed", "folder"):
            return self.folder
        return self.folder / (self.marker or self.files[0])

    def prefix_in(self, folder: Path) -> str:
        """What the names of the files begin with in a folder around theirs: empty, or ending with a slash."""
        return "" if self.folder == folder else self.folder.relative_to(folder).as_posix() + "/"


def set_of(folder: Path, names: Collection[str]) -> list[FileSet]:
    """The sets among the files and folders of one folder, by their names; each name belongs to one set at most.

    Reads nothing but an index whose files have unusual names, a lone `.metadata`, and markers: of these only one that
    names something that is not there makes a set, of itself.
    """
    known = frozenset(names)
    found = [*_sharded(folder, known)]
    described = {name for name in known if name.endswith(distributed.SUFFIX)}
    rank_metadata = {name for name in known if distributed.RANK_METADATA.fullmatch(name)}
    if distributed.METADATA in known and (described or rank_metadata or _is_metadata(folder)):
        described.add(distributed.METADATA)
    if described or rank_metadata:
        marker = distributed.METADATA if distributed.METADATA in described else ""
        found.append(FileSet("distributed", folder, marker, tuple(sorted(described | rank_metadata))))
    ranks = tuple(sorted(name for name in known if deepspeed.belongs(name)))
    if ranks:
        found.append(FileSet("deepspeed", folder, "", ranks))
    markers = (name for name in sorted(known) if is_marker(name) or leads_nowhere(folder / name))
    return found + [FileSet("marker", folder, name, (name,)) for name in markers if _fault_of(folder, name, known)]


def _is_metadata(folder: Path) -> bool:
    opened = Parts(folder).open(distributed.METADATA)
    return opened is not None and distributed.describes(opened)


def _sharded(folder: Path, names: frozenset[str]) -> Iterator[FileSet]:
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    if pieces := tuple(sorted(name for name in names if re.fullmatch(PIECES, name))):
        yield FileSet("sharded", folder, "", pieces)
    for name in names.difference(pieces):
        match = shard_of(name)
        if match and match["suffix"] in _SHARD_SUFFIXES:
            groups[match["stem"], match["variant"] or "", match["suffix"]].append(name)
    for index in sorted(name for name in names if index_of(name)):
        match = index_of(index)
        stem, suffix, variant = match["stem"], match["suffix"], match["variant"]  # type: ignore[index]
        keys = [(f"{stem}.{variant}", ""), (stem, f".{variant}")] if variant else [(stem, "")]
        files = [name for key in keys for name in groups.pop((*key, suffix), [])]
        files = files or [name for name in sharded.weight_map(open_json(folder / index)) if name in names]
        yield FileSet("sharded", folder, index, (index, *sorted(files)))
    for files in groups.values():
        if not all(match["count"].strip("0") in ("", "1") for match in map(shard_of, files) if match):
            yield FileSet("sharded", folder, "", tuple(sorted(files)))


def target_of(folder: Path, marker: str, names: Collection[str]) -> str | None:
    """The name, in the same folder, of what a marker or link names; None where it is none of a kind known here.

    In `last_checkpoint` mmengine and maskrcnn-benchmark write a path as it was given to them. Elsewhere a text is taken
    for a name where its loader is known, or where the names beside it are of its form.
    """
    path = folder / marker
    if path.is_symlink() and not path.is_file():  # a link to a text file is that file: Hugging Face's cache has them
        name = path.readlink().name
        return name if name in names or not path.exists() else None
    text = Parts(folder).open(marker)
    said = text.root if text is not None else None
    if not isinstance(said, str):
        return None
    if marker == MEGATRON:
        return _of_iteration(said, names)
    name = PurePath(said).name
    if marker.endswith(".symlink"):  # which may name a path in a bucket
        return name if name in names or name == said else None
    if marker.startswith("last_checkpoint"):
        return (name if name in names or is_inside(said) else said) if said.endswith(_SAVED) else None
    alike = any(form_of(other) == form_of(said) and number_of(other) is not None for other in names)
    return said if alike or _is_read(marker, names) or (marker.startswith("latest") and _TAG.fullmatch(said)) else None


def _is_read(marker: str, names: Collection[str]) -> bool:
    """Whether a loader reads a marker, whatever it holds: its name or the names beside it show whose it is."""
    if marker in ("latest", "latest_universal"):
        return _ITS_SCRIPT in names or any(_TAG.fullmatch(name) for name in names)
    return marker == MEGATRON or (marker == "last_checkpoint" and any(name.endswith(_SAVED) for name in names))


def _of_iteration(said: str, names: Collection[str]) -> str | None:
    """The folder of an iteration, as the others of its run are named."""
    if not said.isdecimal() or len(said) > 18:
        return said if said == "release" else None
    found = next((name for name in sorted(names) if number_of(name) == int(said)), None)
    return found or (said if any(map(str.isdecimal, names)) else f"iter_{int(said):07d}")


def marked(folder: Path) -> dict[str, str]:
    """The markers and links in the folder of a run, each with the name of the checkpoint there that it names."""
    names = [entry.name for entry in folder.iterdir()]
    targets = {marker: target_of(folder, marker, names) for marker in MARKERS if marker in names}
    return {marker: target for marker, target in targets.items() if target in names and target is not None}


def _fault_of(folder: Path, marker: str, names: Collection[str], prefix: str = "") -> Damage | None:
    """What is wrong with a marker that a loader reads; None where what it names is there, or where nobody reads it."""
    parts, target = Parts(folder), target_of(folder, marker, names)
    if target in names:
        return None
    if target is not None:
        why = parts.size(target)
        is_there = isinstance(why, int) or why == FOLDER
        return None if is_there else missing_part(prefix + target, str(why), prefix + marker, _BY_IT)
    text = parts.open(marker)
    if text is None or text.container != "text" or text.damage or not _is_read(marker, names):
        return None
    says = f"says '{shown(text.root)}'" if text.root else "is not one line of text" if text.size else "is empty"
    message = f"{shown(prefix + marker)} {says}, where the name of a checkpoint belongs; {_BY_IT}"
    return Damage("missing-part", message, shown(prefix + marker))


def examine(found: FileSet, parts: Parts) -> Findings:
    """What a set lacks. `parts` are those of the checkpoint that the set belongs to, which may be a folder above."""
    prefix = found.prefix_in(parts.folder)
    names = frozenset(found.files)
    if found.kind == "distributed":
        return distributed.examine(parts, prefix, names)
    if found.kind == "deepspeed":
        return deepspeed.examine(parts, prefix, names)
    if found.kind == "marker":
        beside = {entry.name for entry in found.folder.iterdir()}
        fault = _fault_of(found.folder, found.marker, beside, prefix)
        return Findings([fault] if fault else [])
    if found.marker:
        return sharded.examine(parts, prefix + found.marker, lambda own: _has_weights(found, parts, prefix, own))
    if re.fullmatch(PIECES, found.files[0]):
        return sharded.examine_pieces(parts, [prefix + name for name in found.files])
    return _numbered(found, prefix)


def _numbered(found: FileSet, prefix: str) -> Findings:
    """Files that are numbered and have no index."""
    result = Findings()
    there: dict[tuple[str, str, int], set[int]] = defaultdict(set)
    for match in filter(None, map(shard_of, found.files)):
        name, number = match.string, match["number"]
        there[name[: match.start("number")], name[match.end("number") :], len(number)].add(int(number))
    for (before, behind, width), numbers in there.items():
        first, count = 0 if 0 in numbers else 1, int(behind[len("-of-") :].partition(".")[0])
        lost = [f"{before}{n:0{width}d}{behind}" for n in range(first, first + count) if n not in numbers]
        caller = f"the number {count:,} in the names of the others"
        result.lacks(missing_part(prefix + name, "is not there", caller) for name in lost)
    what = f"which tensors belong to {shown(prefix + found.files[0])} and the files numbered with it"
    result.not_checked.append(NotChecked(what, "there is no index", "its index (.index.json)"))
    return result


def _has_weights(found: FileSet, parts: Parts, prefix: str, own: Collection[str]) -> bool:
    """Whether the folder has weights, complete, beside those that an index names."""
    names = [entry.name for entry in found.folder.iterdir()]
    others = [other for other in set_of(found.folder, names) if other.kind == "sharded" and other.marker]
    for other in others:
        placed = sharded.weight_map(parts.open(prefix + other.marker))
        if other.marker != found.marker and placed and all(parts.has(prefix + name) for name in placed):
            return True
    inside = {name for other in others for name in other.files}
    suffixes = tuple(f".{suffix}" for suffix in _SHARD_SUFFIXES)
    single = (name for name in names if name.endswith(suffixes) and name not in inside and prefix + name not in own)
    return any(
        (file := parts.open(prefix + name)) is not None and file.layout == "state-dict" and not file.damage
        for name in sorted(single)
    )


def lone_optimizer(folder: str, names: Collection[str], has_weights: bool) -> list[Damage]:
    """Of Accelerate's folders of a sharded save, the optimizer's without the model's. `folder` ends with a slash."""
    numbers = [match[1] for name in sorted(names) if (match := _FSDP_OPTIMIZER.fullmatch(name))]
    lone = [number for number in numbers if f"pytorch_model_fsdp_{number}" not in names and not has_weights]
    return [missing_part(f"{folder}pytorch_model_fsdp_{n}", "is not there", f"{folder}optimizer_{n}") for n in lone]
