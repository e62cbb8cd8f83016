"""Reads the zip archives of `torch.save` (since 1.6) and `torch.jit.save`: directory and `data.pkl`, no tensor bytes.

Layout of the archive: caffe2/serialize/inline_container.h; what `torch.load` does with it: torch/serialization.py.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import Payload, Reading, shown
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.inert.storages import torch_storage
from ckpt_doctor.inert.tensor_list import find_tensors
from ckpt_doctor.readers.assemble import Content, checkpoint
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.neighbours import object_pickle, zip_neighbour
from ckpt_doctor.readers.programs import Programs, read_program
from ckpt_doctor.readers.source import Source
from ckpt_doctor.readers.symptoms import wrong_byte_order
from ckpt_doctor.readers.torch_legacy import payload_hook
from ckpt_doctor.readers.zip_directory import Directory, DirectoryError, Entry, read_appended, read_directory
from ckpt_doctor.readers.zip_truncated import packed_anew, walk
from ckpt_doctor.readers.zip_unlisted import listed, read_unlisted
from ckpt_doctor.types import Checkpoint, Damage, Global, Migration, NotChecked, Program

CONSTANTS = "constants/"
"""The folder of a TorchScript archive in which the storages of `constants.pkl` stand."""
_STORED, _DEFLATED = 0, 8
_SMALL_RECORDS = ("version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id")


def open_zip(view: FileView) -> Checkpoint:
    """Read an archive that begins with a local header; never raises for its content."""
    try:
        directory = read_directory(view.read_at, view.size)
    except DirectoryError as error:
        return _without_directory(view, str(error))
    prefix = archive_prefix(directory)
    return _something_else(view, directory) if prefix is None else _with_directory(view, directory, prefix)


def _something_else(view: FileView, directory: Directory) -> Checkpoint:
    """An archive that torch.load does not read; what its own reader would run is told all the same."""
    content = Content("unknown")
    content.damage += [zip_neighbour([entry.name for entry in directory.entries]), *directory.damage]
    programs = Programs()
    payload = payload_hook(programs)
    entries = (*directory.entries, *directory.others)
    _other_pickles(programs, view, entries, payload)
    # numpy goes by a member's first bytes, whatever its name
    arrays = [e for e in entries if not e.name.lower().endswith((".pkl", ".npy")) and _begins_as_array(view, e)]
    _other_pickles(programs, view, [replace(e, name=f"{e.name}.npy") for e in arrays], payload)
    read_unlisted(programs, view, listed(directory), view.size)
    content.globals = tuple(programs.globals.values())
    return checkpoint(view, content)


def open_row(view: FileView, note: NotChecked) -> Checkpoint:
    """A shard of a distributed checkpoint: archives in a row, each an object that its reader loads with torch.load.

    Found from the end, for each archive's directory tells where it begins. `note` says what is not read of them.
    """
    content = Content("unknown", not_checked=[note])
    programs = Programs()
    payload = payload_hook(programs)
    end = view.size
    while end:
        entries = read_appended(view.read_at, end)
        begin = min((entry.header for entry in entries), default=end)
        if begin >= end:
            break
        _other_pickles(programs, view, entries, payload)
        end = begin
    if end:
        why = f"no archive ends at byte {end:,}"
        content.not_checked.append(
            NotChecked("what the first bytes would run", why, "torch.load it from a source you trust only")
        )
    content.globals = tuple(programs.globals.values())
    content.damage += [damage for damage in programs.damage if damage.kind == "dangerous-global"]
    return checkpoint(view, content)


def appended_pickles(view: FileView) -> Iterable[Global]:
    """What the pickles name in an archive that hides at the end of a file of another kind."""
    programs = Programs()
    _other_pickles(programs, view, read_appended(view.read_at, view.size), payload_hook(programs))
    return programs.globals.values()


def _other_pickles(programs: Programs, source: Source, entries: Iterable[Entry], payload: Payload) -> None:
    """Take up every pickle of an archive beside the main one, also those in arrays of Python objects.

    Each place of the file once: entries can be made to overlap.
    """
    read: set[tuple[int, int, str]] = set()
    for entry in entries:
        name = entry.name.lower()
        place = (entry.data, entry.method, name[-4:])
        if place in read:
            continue
        read.add(place)
        if name.endswith(".pkl"):
            read_program(programs, _record(source, entry, programs.damage), 0, None, shown(entry.name), payload)
        elif name.endswith(".npy"):
            head = replace(entry, size=min(entry.size, 1 << 12), compressed=min(entry.compressed, 1 << 16))
            start = object_pickle(_record(source, head, []))
            if start is not None:
                raw = _record(source, entry, programs.damage)
                read_program(programs, raw, start, None, shown(entry.name), payload)


def _begins_as_array(source: Source, entry: Entry) -> bool:
    head = replace(entry, size=min(entry.size, 64), compressed=min(entry.compressed, 1 << 12))
    return _record(source, head, []).startswith(b"\x93NUMPY")


def archive_prefix(directory: Directory) -> str | None:
    """The folder that all records stand in, with its slash, taken from the shortest `.../data.pkl`.

    None when there is no `data.pkl`. torch takes the folder of the first entry (`PyTorchStreamReader::init`), which is
    the same in all that torch writes.
    """
    found = [
        e.name[: -len("data.pkl")] for e in directory.entries if e.name == "data.pkl" or e.name.endswith("/data.pkl")
    ]
    first = directory.entries[0].name.partition("/")[0] + "/" if directory.entries else ""
    return first if first in found else min(found, key=len, default=None)


def _with_directory(view: FileView, directory: Directory, prefix: str) -> Checkpoint:
    records = {entry.name: entry for entry in reversed(directory.entries)}
    script = prefix + "constants.pkl" in records
    content = Content("torchscript" if script else "torch-zip")
    content.damage += directory.damage
    content.metadata = _facts(view, records, prefix)
    data = {e.name[len(prefix) + 5 :]: e for e in directory.entries if e.name.startswith(prefix + "data/")}
    if all(entry.crc == 0 for entry in directory.entries if entry.size):
        content.metadata["checksums"] = "none"  # torch.serialization.set_crc32_options(False)
    else:
        content.checksums = {key: entry.crc for key, entry in data.items()}
    byteorder = content.metadata.get("byteorder", "little")
    if byteorder not in ("little", "big"):
        message = f"the byteorder record says {shown(byteorder)!r}, which torch.load refuses"
        content.damage.append(Damage("byte-order-suspect", message, where=prefix + "byteorder", found=shown(byteorder)))

    programs = Programs()
    main = records[prefix + "data.pkl"]
    offsets = {key: entry.data for key, entry in data.items() if entry.method == _STORED and entry.data >= 0}
    payload = payload_hook(programs)
    raw = _record(view, main, content.damage)
    reading = read_program(programs, raw, 0, torch_storage(offsets), main.name, payload)
    _other_pickles(programs, view, _beside(directory, main), payload)
    read_unlisted(programs, view, listed(directory), view.size)
    if main.method == _STORED and main.data >= 0:
        content.program = Program(main.data, main.size, main.name)
    content.add(reading, programs)
    content.damage += _missing(reading, records, prefix + "data/")
    if script:
        _add_constants(view, content, records, prefix)
    suspect = wrong_byte_order(view, content.tensors, content.metadata.get("byteorder"))
    content.damage += [suspect] if suspect else []
    content.migrations = _migrations(view, records, prefix)
    return checkpoint(view, content)


def _add_constants(view: FileView, content: Content, records: Mapping[str, Entry], prefix: str) -> None:
    """The tensors of `constants.pkl`: in a frozen TorchScript module its weights (torch/csrc/jit/serialization)."""
    folder = prefix + CONSTANTS
    stored = {name: entry for name, entry in records.items() if name.startswith(folder) and entry.method == _STORED}
    offsets = {name[len(prefix) :]: entry.data for name, entry in stored.items() if entry.data >= 0}
    raw = _record(view, records[prefix + "constants.pkl"], [])
    reading = read(raw, 0, torch_storage(offsets, CONSTANTS))
    found = find_tensors(reading.root)
    content.tensors += tuple(replace(tensor, path=("constants", *tensor.path)) for tensor in found.all)
    content.damage += [*found.damage, *_missing(reading, records, prefix)]


def read_inner_zip(source: Source, depth: int) -> tuple[Programs, object]:
    """The pickles of an archive that stands as bytes inside a pickle, and what its `data.pkl` builds."""
    programs = Programs()
    root: object = None
    try:
        directory = read_directory(source.read_at, source.size)
    except DirectoryError:
        return programs, root
    payload = payload_hook(programs, depth)
    prefix = archive_prefix(directory)
    main = None if prefix is None else next(e for e in directory.entries if e.name == prefix + "data.pkl")
    if main is not None:
        root = read_program(programs, _record(source, main, programs.damage), 0, None, shown(main.name), payload).root
    _other_pickles(programs, source, _beside(directory, main), payload)
    read_unlisted(programs, source, listed(directory), source.size)
    return programs, root


def _beside(directory: Directory, main: Entry | None) -> Iterator[Entry]:
    return (entry for entry in (*directory.entries, *directory.others) if entry is not main)


def _record(view: Source, entry: Entry, damage: list[Damage]) -> bytes:
    """The bytes of a record, inflated within limits; empty, with damage, where they cannot be had."""
    if entry.data < 0:
        return b""
    if entry.size > limits.MAX_PROGRAM_BYTES:
        damage.append(
            Damage("limit-exceeded", f"a pickle of {entry.size:,} bytes is not read", where=shown(entry.name))
        )
        return b""
    if entry.method == _STORED:
        raw = view.read_at(entry.data, entry.size)
        if len(raw) < entry.size:
            message = f"{len(raw):,} of its {entry.size:,} bytes are there"
            damage.append(
                Damage("missing-record", message, where=shown(entry.name), found=len(raw), expected=entry.size)
            )
        return raw
    packed = view.read_at(entry.data, entry.compressed)
    bound = min(entry.size, limits.inflated(len(packed)))
    if entry.method != _DEFLATED:
        message = f"compression method {entry.method} is unknown to torch.load"
        damage.append(Damage("missing-record", message, where=shown(entry.name)))
        return _unpacked(packed, entry.method, bound)  # which zipfile knows, and with it numpy
    inflater = zlib.decompressobj(-15)
    try:
        raw = inflater.decompress(packed, max(bound, 1))
    except zlib.error:
        damage.append(Damage("corrupt-record", "the compressed data is damaged", where=shown(entry.name)))
        return b""
    if bound < entry.size and not inflater.eof:
        message = f"the record inflates from {len(packed):,} to more than {bound:,} bytes"
        damage.append(Damage("limit-exceeded", message, where=shown(entry.name)))
    return raw


def _unpacked(packed: bytes, method: int, bound: int) -> bytes:
    """Content that is compressed with bzip2 or LZMA, up to `bound` bytes; empty for what is damaged or unknown."""
    import bz2  # few archives need them
    import lzma
    import zipfile

    if method not in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        return b""
    bzip2 = method == zipfile.ZIP_BZIP2
    decompressor = bz2.BZ2Decompressor() if bzip2 else zipfile.LZMADecompressor()  # type: ignore[attr-defined]
    raw = bytearray()
    try:
        for at in range(0, len(packed), 1 << 12):
            raw += decompressor.decompress(packed[at : at + (1 << 12)])
            if len(raw) >= bound or decompressor.eof:
                break
    except (OSError, EOFError, lzma.LZMAError):
        pass
    return bytes(raw[:bound])


def _facts(view: FileView, records: Mapping[str, Entry], prefix: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"prefix": prefix}
    for name in _SMALL_RECORDS:
        entry = records.get(prefix + name)
        if entry is not None and entry.method == _STORED and entry.size <= 64 and entry.data >= 0:
            facts[name.strip(".").rpartition("/")[2]] = view.read_at(entry.data, entry.size).decode("latin-1").strip()
    return facts


def _missing(reading: Reading, records: Mapping[str, Entry], folder: str) -> list[Damage]:
    """Storages that the pickle calls for and whose record is absent from its folder or of another size."""
    damage = []
    for storage in reading.storages.values():
        name = folder + storage.key
        entry = records.get(name)
        if entry is None:
            message = "the record that a tensor's storage should stand in is absent; loading raises"
            damage.append(Damage("missing-record", message, shown(name), None, storage.nbytes))
        elif entry.size != storage.nbytes:
            short = entry.size < storage.nbytes
            message = (
                f"the record is {'shorter' if short else 'longer'} than its tensors say: {entry.size:,} instead of "
                f"{storage.nbytes:,} bytes" + ("; with mmap=True garbage is loaded without a word" if short else "")
            )
            damage.append(Damage("missing-record", message, shown(name), entry.size, storage.nbytes))
    if len(damage) > limits.MAX_DAMAGE:
        message = f"{len(damage) - limits.MAX_DAMAGE:,} more records are absent or of another size"
        damage = [*damage[: limits.MAX_DAMAGE], Damage("missing-record", message)]
    return damage


def _migrations(view: FileView, records: Mapping[str, Entry], prefix: str) -> tuple[Migration, ...]:
    """Records of earlier migrations, oldest first; anything that is not one is passed over."""
    numbered = []
    for name, entry in records.items():
        match = re.fullmatch(r"\.ckpt_doctor/migration-(\d{1,6})\.json", name[len(prefix) :])
        if match and name.startswith(prefix) and entry.method == _STORED and entry.size <= limits.MAX_MIGRATION_BYTES:
            numbered.append((int(match[1]), entry))
    found = []
    for _, entry in sorted(numbered, key=lambda pair: pair[0]):
        try:
            said = json.loads(view.read_at(entry.data, entry.size))
        except (ValueError, RecursionError):
            continue
        migration = parse_migration(said)
        if migration is not None:
            found.append(migration)
    return tuple(found)


def parse_migration(said: object) -> Migration | None:
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
    return Migration(when, version, tuple(edit for edit in edits if isinstance(edit, dict)), size)


def _without_directory(view: FileView, why: str) -> Checkpoint:
    """An archive whose end is missing: what its beginning still tells."""
    content = Content("torch-zip")
    start = walk(view)
    programs = Programs()
    payload = payload_hook(programs)
    _other_pickles(programs, view, read_appended(view.read_at, view.size), payload)
    content.globals = tuple(programs.globals.values())
    what = f"the archive is cut off or was never finished ({why}); torch.load raises 'failed finding central directory'"
    mend = ". A zip program packed it anew, in another way than torch.save does: `zip -FF` may mend it"
    anew = packed_anew(view)
    if start is None:
        content.damage.append(Damage("truncated-archive", what + mend * anew, found=view.size))
        return checkpoint(view, content)
    reading = start.reading
    if reading.finished:
        reading = read_program(programs, start.raw, 0, torch_storage(start.offsets), start.name, payload)
    else:
        programs.add(reading, start.name)
    read_unlisted(programs, view, start.known, start.end)
    content.add(reading, programs)
    lost = [key for key in reading.storages if key not in start.offsets]
    content.metadata = {"prefix": start.name[: -len("data.pkl")], "lost_records": len(lost)}
    if reading.finished:
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
