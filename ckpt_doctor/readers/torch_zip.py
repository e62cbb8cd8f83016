"""Reads the zip archives of `torch.save` (since 1.6) and `torch.jit.save`: directory and `data.pkl`, no tensor bytes.

Layout of the archive: caffe2/serialize/inline_container.h; what `torch.load` does with it: torch/serialization.py.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from typing import Any
from zlib import crc32

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.inert.storages import torch_storage
from ckpt_doctor.inert.tensor_list import find_tensors
from ckpt_doctor.inert.zip_structures import STORED, Directory, DirectoryError, Entry
from ckpt_doctor.readers.assemble import Content, checkpoint
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.neighbours import zip_neighbour
from ckpt_doctor.readers.payloads import beside, file_programs
from ckpt_doctor.readers.programs import read_program
from ckpt_doctor.readers.safety import is_scripted, is_system
from ckpt_doctor.readers.symptoms import wrong_byte_order
from ckpt_doctor.readers.zip_directory import (
    PACKAGED,
    archive_prefix,
    first_folder,
    read_appended,
    read_directory,
)
from ckpt_doctor.readers.zip_far import far_of, plan_pickles, searched, unread, within_reach
from ckpt_doctor.readers.zip_records import DESCRIPTION_CHANGED, missing, other_pickles, record
from ckpt_doctor.readers.zip_unlisted import listed, read_unlisted
from ckpt_doctor.types import A_COPY, Checkpoint, Damage, Global, MigrationRecord, NotChecked, Program

CONSTANTS = "constants/"
"""The folder of a TorchScript archive that contains the storages of `constants.pkl`."""
_UNPACKING = frozenset(
    {"torch.jit._script.unpackage_script_module", "torch.fx.graph_module.reduce_package_graph_module"}
)
"""What a package's persistent ids call: they take its importer, and make a module of code in the archive."""
_BASELINES = "_stable_baselines3_version"
"""stable_baselines3/common/save_util.py, `save_to_zip_file`."""
_MOST_VERSION = 10
"""caffe2/serialize/versions.h, `kMaxSupportedFileFormatVersion`."""
_SMALL_RECORDS = {
    "version": "version",
    "byteorder": "byteorder",
    ".format_version": "format_version",
    ".storage_alignment": "storage_alignment",
    ".data/serialization_id": "serialization_id",
}
"""Record -> the name of its fact."""


def open_zip(view: FileView) -> Checkpoint:
    """Read an archive that begins with a local header; never raises for its content."""
    try:
        directory = read_directory(view.read_at, view.size, far_of(view))
    except DirectoryError as error:
        return _without_directory(view, str(error))
    prefix = archive_prefix(directory)
    return _something_else(view, directory) if prefix is None else _with_directory(view, directory, prefix)


def _something_else(view: FileView, directory: Directory) -> Checkpoint:
    """An archive that torch.load does not read. What its own reader would run is still reported."""
    programs = file_programs()
    if any(entry.name == _BASELINES for entry in directory.entries):
        from ckpt_doctor.readers.baselines import parts  # few archives are of it

        content = parts(view, directory, programs)
        content.damage += directory.damage
    else:
        content = Content("unknown")
        content.damage += [zip_neighbour([entry.name for entry in directory.entries]), *directory.damage]
    other_pickles(programs, view, (*directory.entries, *directory.others))
    read_unlisted(programs, view, listed(directory), view.size, file_programs)
    content.damage += [damage for damage in programs.damage if damage.kind == "dangerous-global"]
    content.take_names(programs)
    names, folder = {entry.name for entry in directory.entries}, first_folder(directory)
    if folder + PACKAGED in names:
        content.globals, content.calls = (
            tuple(name for name in found if not _is_packaged(name, names, folder))
            for found in (content.globals, content.calls)
        )
    return checkpoint(view, content)


def _is_packaged(name: Global, names: Container[str], folder: str) -> bool:
    """Whether a package brings along what its pickles name: Python source, TorchScript code, torch's way to either.

    Source: torch/package/package_exporter.py, `_write_source_string`; torch/package/package_importer.py.
    """
    path = folder + name.module.replace(".", "/")
    own = path + ".py" in names or path + "/__init__.py" in names
    return (own and not is_system(name)) or is_scripted(name) or str(name) in _UNPACKING


def _with_directory(view: FileView, directory: Directory, prefix: str) -> Checkpoint:
    records = {entry.name: entry for entry in reversed(directory.entries)}
    script = prefix + "constants.pkl" in records
    content = Content("torchscript" if script else "torch-zip")
    content.damage += directory.damage
    main = records[prefix + "data.pkl"]
    folder = prefix + "data/"
    plan_pickles(view, directory, main, folder)
    content.metadata = _facts(view, records, prefix)
    content.damage += _refused(directory, content.metadata, prefix)
    data = {e.name[len(folder) :]: e for e in directory.entries if e.name.startswith(folder)}
    if all(entry.crc == 0 for entry in directory.entries if entry.size):
        content.metadata["checksums"] = "none"  # torch.serialization.set_crc32_options(False)
    else:
        content.checksums = {key: entry.crc for key, entry in data.items()}
    byteorder = content.metadata.get("byteorder", "little")
    if byteorder not in ("little", "big"):
        message = f"the byteorder record says {shown(byteorder)!r}, which torch.load refuses"
        content.damage.append(Damage("byte-order-suspect", message, where=prefix + "byteorder", found=shown(byteorder)))

    programs = file_programs()
    offsets = {key: entry.data for key, entry in data.items() if entry.method == STORED and entry.data >= 0}
    sizes = {key: entry.size for key, entry in data.items()}
    raw = record(view, main, content.damage)
    storages = torch_storage(offsets, sizes=sizes, only=not script, read=view.read_at if view.is_held else None)
    reading = read_program(programs, raw, 0, storages, main.name)
    whole = reading.finished and len(raw) == main.size
    if whole and content.metadata.get("checksums") != "none" and crc32(raw) != main.crc:
        content.damage.append(Damage("corrupt-record", DESCRIPTION_CHANGED, where=shown(main.name)))
    tensors = {folder + key for key in reading.storages}  # whatever they look like, nothing unpickles them
    others, unseen = within_reach(view, (e for e in beside(directory, main) if e.name not in tensors))
    other_pickles(programs, view, others)
    known, unsearched = searched(view, directory)
    read_unlisted(programs, view, known, view.size, file_programs)
    content.not_checked += [*unread(directory), *unseen, *unsearched]
    if main.method == STORED and main.data >= 0:
        content.program = Program(main.data, main.size, main.name)
    content.add(reading, programs)
    content.damage += missing(reading, records, folder)
    if script:
        _add_constants(view, content, records, prefix)
    if view.far and content.tensors:
        content.not_checked.append(
            NotChecked("whether the byteorder record fits the numbers", "the file is remote", A_COPY)
        )
    else:
        suspect = wrong_byte_order(view, content.tensors, content.metadata.get("byteorder"))
        content.damage += [suspect] if suspect else []
    content.migrations = _migrations(view, records, prefix)
    return checkpoint(view, content)


def _add_constants(view: FileView, content: Content, records: Mapping[str, Entry], prefix: str) -> None:
    """The tensors of `constants.pkl`: in a frozen TorchScript module its weights (torch/csrc/jit/serialization)."""
    folder = prefix + CONSTANTS
    stored = {name: entry for name, entry in records.items() if name.startswith(folder) and entry.method == STORED}
    offsets = {name[len(prefix) :]: entry.data for name, entry in stored.items() if entry.data >= 0}
    raw = record(view, records[prefix + "constants.pkl"], [])
    sizes = {name[len(prefix) :]: entry.size for name, entry in stored.items()}
    reading = read(raw, 0, torch_storage(offsets, CONSTANTS, sizes=sizes))
    found = find_tensors(reading.root)
    content.tensors += tuple(replace(tensor, path=("constants", *tensor.path)) for tensor in found.all)
    content.damage += [*found.damage, *missing(reading, records, prefix)]


def _facts(view: FileView, records: Mapping[str, Entry], prefix: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"prefix": prefix}
    for name, fact in _SMALL_RECORDS.items():
        entry = records.get(prefix + name)
        if entry is not None and entry.size <= 64 and entry.data >= 0:
            facts[fact] = record(view, entry, []).decode("latin-1").strip()
    return facts


def _refused(directory: Directory, facts: Mapping[str, Any], prefix: str) -> Iterator[Damage]:
    """Why torch refuses an archive before it looks at its pickle (`PyTorchStreamReader::init`)."""
    if prefix != first_folder(directory):
        first = directory.entries[0].name
        message = f"torch.load looks for data.pkl in the folder of the first record, {shown(first)}: it was repacked"
        yield Damage("missing-record", f"{message} in another way", shown(prefix + "data.pkl"))
    number = re.match(r"\s*\+?(\d{1,9})", version := str(facts.get("version", "")))
    if number is None or not 1 <= int(number[1]) <= _MOST_VERSION:
        said = f"says '{shown(version)}'" if "version" in facts else "is absent"
        yield Damage("missing-record", f"the version record {said}: torch.load refuses the archive", prefix + "version")
    alignment = str(facts.get("storage_alignment", 0))
    if re.fullmatch(r"[+-]?\d+(_\d+)*", alignment, re.ASCII) is None:  # `int` in torch/serialization.py, `_load`
        message = f"the .storage_alignment record says '{shown(alignment)}', which torch.load refuses"
        yield Damage("missing-record", message, shown(prefix + ".storage_alignment"))


def _migrations(view: FileView, records: Mapping[str, Entry], prefix: str) -> tuple[MigrationRecord, ...]:
    """Records of earlier migrations, oldest first; anything that is not one is passed over."""
    numbered = []
    ours = f"{prefix}.ckpt_doctor/"
    for name, entry in records.items():
        match = re.fullmatch(r"migration-(\d{1,6})\.json", name[len(ours) :]) if name.startswith(ours) else None
        if match and entry.method == STORED and entry.size <= limits.MAX_MIGRATION_BYTES:
            numbered.append((int(match[1]), entry))
    if not numbered:
        return ()
    import json

    found = []
    unread = view.size
    for _, entry in sorted(numbered, key=lambda pair: pair[0]):
        unread -= entry.size
        if unread < 0:  # entries made to overlap would be read over and over
            break
        try:
            said = json.loads(view.read_at(entry.data, entry.size))
        except (ValueError, RecursionError):
            continue
        migration = parse_migration(said)
        if migration is not None:
            found.append(migration)
    return tuple(found)


def parse_migration(said: object) -> MigrationRecord | None:
    """A migration record from JSON values; None when it does not have that form."""
    if not isinstance(said, dict):
        return None
    when, version, edits, size = (said.get(key) for key in ("when", "tool_version", "edits", "previous_size"))
    if (
        not isinstance(when, str)
        or not isinstance(version, str)
        or not isinstance(edits, list)
        or type(size) is not int
    ):
        return None
    return MigrationRecord(when, version, tuple(edit for edit in edits if isinstance(edit, dict)), size)


def _without_directory(view: FileView, why: str) -> Checkpoint:
    """An archive whose end is missing: what its beginning still shows."""
    from ckpt_doctor.readers.zip_truncated import packed_anew, walk  # most archives are whole

    content = Content("torch-zip")
    start = walk(view)
    programs = file_programs()
    other_pickles(programs, view, read_appended(view.read_at, view.size))
    content.take_names(programs)
    what = f"the archive is cut off or was never finished ({why}); torch.load raises 'failed finding central directory'"
    mend = ". A zip program repacked it in another way than torch.save does: `zip -FF` may mend it"
    anew = packed_anew(view)
    if start is None:
        content.damage.append(Damage("truncated-archive", what + mend * anew, found=view.size))
        return checkpoint(view, content)
    reading = start.reading
    if reading.finished:
        reading = read_program(programs, start.raw, 0, torch_storage(start.offsets), start.name)
    else:
        programs.add(reading, start.name)
    read_unlisted(programs, view, start.known, start.end, file_programs)
    content.add(reading, programs)
    lost = [key for key in reading.storages if key not in start.offsets]
    content.metadata = {"prefix": start.name[: -len("data.pkl")], "lost_records": len(lost)}
    if reading.finished and view.far:
        content.not_checked.append(NotChecked("how many tensors are complete", "the file is remote", A_COPY))
    elif reading.finished:
        content.program = Program(start.data, reading.end, start.name)
        kept = len(reading.storages) - len(lost)
        what += f". {kept or 'None'} of {len(reading.storages):,} tensor records " + (
            "is complete: nothing can be recovered" if kept == 0 else "are complete: ckpt-doctor salvage recovers them"
        )
    else:
        what += mend if anew else ". The description of the tensors is cut off too: nothing can be recovered"
        content.damage = [damage for damage in content.damage if damage.kind != "malformed-pickle"]
    content.damage.insert(0, Damage("truncated-archive", what, found=view.size))
    return checkpoint(view, content)
