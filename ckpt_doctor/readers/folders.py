"""Reads a checkpoint that is a folder, or a set of files, as one `Checkpoint` with parts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.readers import distributed, open_checkpoint, sharded
from ckpt_doctor.readers.detect import sniff
from ckpt_doctor.readers.listing import Listing, listing
from ckpt_doctor.readers.part_names import (
    MARKERS,
    OTHER_SUFFIXES,
    SPEECHBRAIN,
    SPEECHBRAIN_TEXT,
    TRAINER_STATE,
    index_of,
    is_marker,
    is_part_name,
    leads_nowhere,
)
from ckpt_doctor.readers.parts import Findings, Parts, open_part
from ckpt_doctor.readers.ranks import lost_parts
from ckpt_doctor.readers.sets import FileSet, examine, lone_optimizer, set_of, target_of
from ckpt_doctor.readers.torch_row import named
from ckpt_doctor.readers.views import in_reach, unreadable
from ckpt_doctor.remote import RemotePath, as_path
from ckpt_doctor.types import A_COPY, Checkpoint, Damage, Layout, NotChecked, mapping_of

_TRAINING_KEYS = frozenset({"param_groups", "last_epoch"})
_OPTIMIZER = re.compile(r"(^|/)optim", re.IGNORECASE)


def open_unit(
    path: Path | str, is_read: Callable[[str], bool] = lambda _: False, is_compared: bool = False
) -> Checkpoint:
    """Read a checkpoint of several files inertly: a folder, or the index or marker that names its files.

    Every part is read as `open_checkpoint` reads a file, and the values of a distributed checkpoint get their names.
    `root` maps the name of each part to its root. `metadata["files"]` maps the name of every file to its size, also of
    those that were not read; `metadata["links"]` names links, which are followed; `metadata["shards"]` maps the files
    of a model in several files, what describes them included, to the name that it would have in one, empty where it is
    the whole unit. `damage` is that of the whole: missing parts. What a file names outside of the checkpoint is not
    opened. A path that stands for no set is read as one file.

    Of the other JSON files in a folder, those that its trainer reads on a resume are parts: `is_read` says which names
    these have. `is_compared`: whether a folder that is one of several moments lacks what those beside it have, and what
    its ranks call for; trainers that say what a checkpoint needs have rules of their own.

    Never raises for what is in the files, nor when the system refuses to read them.
    """
    path = as_path(path)
    try:
        if not path.is_dir():
            return _open_set(path)
        unit = _open_folder(path, is_read)
        lost = lost_parts(unit) if is_compared and not isinstance(path, RemotePath) else ()
        return replace(unit, damage=(*unit.damage, *lost)) if lost else unit
    except OSError as error:
        return Checkpoint(path, 0, "folder", "other", None, damage=(unreadable(error, "it"),))


def _open_folder(folder: Path, is_read: Callable[[str], bool]) -> Checkpoint:
    top = [entry.name for entry in folder.iterdir()]
    tag = target_of(folder, MARKERS[0], top) if MARKERS[0] in top else None
    return _open_listed(folder, Parts(folder), listing(folder, tag=tag if tag in top else None), is_read)


def _open_listed(
    path: Path, parts: Parts, found: Listing, is_read: Callable[[str], bool] = lambda _: False
) -> Checkpoint:
    names = [name for name in found.files if is_read(name) or not _is_left_alone(path, name)]
    for name, _ in zip(names, in_reach([parts.folder / name for name in names]), strict=True):
        if name.endswith(".json") and is_read(name):
            parts.open(name)
        elif SPEECHBRAIN not in found.files or not re.fullmatch(SPEECHBRAIN_TEXT, name):
            _open_if_part(parts, name, found)
    if (gone := _vanished(parts, names)) is not None:
        message = f"is being deleted or written anew: {shown(gone)} was there, and is not any more"
        return Checkpoint(path, 0, "folder", "other", None, damage=(Damage("vanished-file", message),))
    sets = [one for prefix, names in found.entries.items() for one in set_of(parts.folder / prefix, names)]
    findings = _examined(sets, parts)
    told = {damage.where for damage in findings.damage}
    for name, why in found.wrong.items():
        if shown(name) not in told:
            message = f"{shown(name)} {why}, where a part of the checkpoint belongs; what loads it raises"
            findings.damage.append(Damage("missing-part", message, shown(name)))
    has_weights = any(part.layout == "state-dict" for part in parts.opened.values())
    for prefix, names in found.entries.items():
        findings.damage.extend(lone_optimizer(prefix, names, has_weights))
    for why in found.left_out:
        findings.not_checked.append(NotChecked("a part of the folder", shown(why), "a look at it by hand"))
    opened = {name: part for name in found.files if (part := parts.opened.get(name)) is not None}
    facts = {"files": found.files, "links": tuple(found.links), "shards": _shards(sets, parts)}
    return _unit(path, opened, facts, findings)


def _is_left_alone(path: Path, name: str) -> bool:
    """Whether a file is not looked at because each look is a request, and its suffix says what it is."""
    if not isinstance(path, RemotePath):
        return False
    file = PurePosixPath(name)
    return file.suffix.lower() in OTHER_SUFFIXES and not is_part_name(file.name)


def _vanished(parts: Parts, names: Iterable[str]) -> str | None:
    """A file that was listed as a part of the checkpoint and was gone when it was its turn."""
    for name in names:
        part = parts.opened.get(name)
        if part.is_damaged("vanished-file") if part else is_part_name(PurePosixPath(name).name) and not parts.has(name):
            return name
    return None


def _open_if_part(parts: Parts, name: str, found: Listing) -> None:
    """Open a file that belongs to the checkpoint, by its name or by its content."""
    folder, _, file = name.rpartition("/")
    beside = found.entries[f"{folder}/" if folder else ""]
    metadata = file == distributed.METADATA and any(other.endswith(distributed.SUFFIX) for other in beside)
    if metadata or is_part_name(file) or distributed.RANK_METADATA.fullmatch(file):
        parts.open(name)
    elif not file.startswith("."):
        _open_if_checkpoint(parts, name)


def _open_if_checkpoint(parts: Parts, name: str) -> None:
    try:
        kind = sniff(parts.folder / name)
    except OSError:
        return
    if kind in ("zip", "torch-legacy", "safetensors"):
        part = open_checkpoint(parts.folder / name)
        if part.container != "unknown":  # every office document is a zip file, too
            parts.opened[name] = part


def _open_set(path: Path) -> Checkpoint:
    folder = path.parent
    names = [entry.name for entry in folder.iterdir()]
    parts = Parts(folder)
    found = next((one for one in set_of(folder, names) if one.path == path), None)
    if found is not None:
        return _of_files(path, parts, _members(found, parts), [found])
    target = target_of(folder, path.name, names) if is_marker(path.name) or leads_nowhere(path) else None
    if target is None or target not in names:
        return open_part(path)
    if not (folder / target).is_dir():
        return _of_files(path, parts, [path.name, target], [])
    inside = listing(folder, f"{target}/")
    inside.files[path.name] = path.stat().st_size
    inside.entries[""] = [path.name]
    return _open_listed(path, parts, inside)


def _of_files(path: Path, parts: Parts, names: Iterable[str], sets: list[FileSet]) -> Checkpoint:
    findings = _examined(sets, parts)
    files = {name: size for name in names if isinstance(size := parts.size(name), int)}
    opened = {name: part for name in files if (part := parts.open(name)) is not None}
    links = tuple(name for name in files if (parts.folder / name).is_symlink())
    shards = dict.fromkeys(_shards(sets, parts), "")
    return _unit(path, opened, {"files": files, "links": links, "shards": shards}, findings)


def _examined(sets: Iterable[FileSet], parts: Parts) -> Findings:
    """What the sets lack; the values of distributed checkpoints have their names then."""
    findings = Findings()
    for one in sets:
        findings.add(examine(one, parts))
    _name_values(sets, parts)
    return findings


def _members(found: FileSet, parts: Parts) -> list[str]:
    """The files of a set: those that its index names, where it has one, whatever else looks like one of its files."""
    placed = sharded.weight_map(parts.open(found.marker)) if found.kind == "sharded" and found.marker else {}
    return [found.marker, *sorted(placed)] if placed else list(found.files)


def _shards(sets: Iterable[FileSet], parts: Parts) -> dict[str, str]:
    """Each file of a model in several, and what describes them -> the name that the model would have in one."""
    shards: dict[str, str] = {}
    for one in sets:
        prefix = one.prefix_in(parts.folder)
        if one.kind == "distributed":
            shards |= {prefix + name: prefix[:-1] for name in one.files}
        elif one.kind == "sharded" and (match := index_of(one.marker)):
            variant = f".{match['variant']}" if match["variant"] else ""
            placed = sharded.weight_map(parts.open(prefix + one.marker))
            whole = f"{prefix}{match['stem']}{variant}.{match['suffix']}"
            shards |= dict.fromkeys((prefix + name for name in (one.marker, *placed)), whole)
    return shards


def _name_values(sets: Iterable[FileSet], parts: Parts) -> None:
    """Give the values of distributed checkpoints the names that their metadata has."""
    for one in sets:
        prefix = one.prefix_in(parts.folder)
        described = (parts.open(prefix + name) for name in one.files if name.endswith(distributed.METADATA))
        for metadata in described if one.kind == "distributed" else ():
            for file, names in distributed.names_of(metadata).items() if metadata is not None else ():
                part = parts.open(prefix + file) if file in one.files else None
                if part is not None and part.container == "distcp":
                    parts.opened[prefix + file] = named(part, names)


def _unit(path: Path, parts: Mapping[str, Checkpoint], facts: Mapping[str, object], findings: Findings) -> Checkpoint:
    return Checkpoint(
        path=path,
        size=sum(part.size for part in parts.values()),
        container="folder",
        layout=_layout(parts),
        root={name: part.root for name, part in parts.items()},
        damage=tuple(findings.damage),
        not_checked=(*findings.not_checked, *_far(parts.values())),
        metadata=facts,
        bytes_read=sum(part.bytes_read for part in parts.values()),
        parts=tuple(parts.values()),
    )


def _far(parts: Iterable[Checkpoint]) -> Iterator[NotChecked]:
    """What was not looked at in the files behind a URL, each once."""
    left = Counter(item.what for part in parts for item in part.not_checked if item.settle == A_COPY)
    for what, count in left.items():
        yield NotChecked(what, f"{count:,} of its files are remote and large", A_COPY)


def _layout(parts: Mapping[str, Checkpoint]) -> Layout:
    """`training` where there is more than weights: a trainer's, an optimizer's or a schedule's state."""
    layouts: set[Layout] = {part.layout for part in parts.values()}
    layouts |= {distributed.layout_of(part) for part in parts.values() if distributed.describes(part)}
    if "training" in layouts or any(PurePosixPath(name).name == TRAINER_STATE for name in parts):
        return "training"
    if any(_OPTIMIZER.search(name) or _TRAINING_KEYS & _keys(part) for name, part in parts.items()):
        return "training"
    return "state-dict" if "state-dict" in layouts else "other"


def _keys(part: Checkpoint) -> set[str]:
    return {key for key in mapping_of(part.root) or () if isinstance(key, str)}
