"""Reads the files of a distributed checkpoint: archives of torch in a row, one for each value.

Source: torch/distributed/checkpoint/filesystem.py, `_write_item`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ckpt_doctor.inert.storages import torch_storage
from ckpt_doctor.inert.tensor_list import find_tensors
from ckpt_doctor.inert.zip_structures import STORED, Directory, DirectoryError, Entry
from ckpt_doctor.readers.assemble import Content, checkpoint
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.payloads import beside, file_programs
from ckpt_doctor.readers.programs import read_program
from ckpt_doctor.readers.source import Slice
from ckpt_doctor.readers.zip_directory import begin_of_last, read_directory
from ckpt_doctor.readers.zip_records import other_pickles, record
from ckpt_doctor.readers.zip_unlisted import listed, read_unlisted
from ckpt_doctor.types import A_COPY, Checkpoint, NotChecked

UNNAMED = NotChecked(
    "the names of the values",
    "the file is one of a distributed checkpoint, and its .metadata has the names",
    "the folder",
)
_PROGRAM = "/data.pkl"
_MOST_READ = 4 << 20
"""Bytes of a remote file that is read whole: each of its archives would take requests of its own."""


@dataclass(frozen=True)
class Archive:
    """One of the archives; all offsets in it count from its own beginning, as in the stretch that torch.load gets."""

    begin: int
    """Its first byte in the file."""
    source: Slice
    directory: Directory

    @property
    def main(self) -> Entry | None:
        """The record that holds the value."""
        return next((entry for entry in self.directory.entries if entry.name.endswith(_PROGRAM)), None)

    @property
    def storages(self) -> dict[str, Entry]:
        """The records of its tensors, by the keys that their storages have in the whole file."""
        data = f"{self.main.name[: -len(_PROGRAM)]}/data/" if self.main is not None else "/"
        entries = (entry for entry in self.directory.entries if entry.name.startswith(data) and entry.data >= 0)
        return {f"{self.begin}/{entry.name[len(data) :]}": entry for entry in entries}


def archives(view: FileView) -> tuple[list[Archive], int]:
    """The archives in file order; and where the first of them begins, which is 0 in a whole file.

    Found from the end, for each archive's end record tells where it begins.
    """
    found: list[Archive] = []
    end = view.size
    while end and (begin := begin_of_last(view.read_at, end)) is not None:
        source = Slice(view, begin, end - begin)
        try:
            found.append(Archive(begin, source, read_directory(source.read_at, source.size)))
        except DirectoryError:
            break
        end = begin
    return found[::-1], end


def open_row(view: FileView) -> Checkpoint:
    """Read such a file: its root maps the byte at which each value begins to the value."""
    content = Content("distcp", not_checked=[UNNAMED])
    if view.far and view.size > _MOST_READ:
        content.root = {}
        content.not_checked.append(
            NotChecked("what its values hold", "the file is remote, and has one archive for each", A_COPY)
        )
        return checkpoint(view, content)
    view.plan([(0, view.size)])
    programs = file_programs()
    root: dict[object, object] = {}
    row, first = archives(view)
    for archive in row:
        main, storages = archive.main, archive.storages
        if main is not None:
            stored = {key: archive.begin + e.data for key, e in storages.items() if e.method == STORED}
            raw = record(archive.source, main, content.damage)
            sizes = {key: entry.size for key, entry in storages.items()}
            persistent = torch_storage(stored, f"{archive.begin}/", sizes=sizes)
            root[archive.begin] = read_program(programs, raw, 0, persistent, main.name).root
            content.checksums |= {key: entry.crc for key, entry in storages.items()}
        other_pickles(programs, archive.source, beside(archive.directory, main))
        read_unlisted(programs, archive.source, listed(archive.directory), archive.source.size, file_programs)
    if first:
        why = f"no archive ends at byte {first:,}"
        content.not_checked.append(
            NotChecked("what the first bytes would run", why, "load it only from a source that you trust")
        )
    if row and not any(entry.crc for archive in row for entry in archive.directory.entries if entry.size):
        content.metadata["checksums"] = "none"
    content.root = root
    content.tensors, content.inner, damage = find_tensors(root)
    content.take_names(programs)
    content.damage += [*damage, *(damage for damage in programs.damage if damage.kind == "dangerous-global")]
    return checkpoint(view, content)


def named(part: Checkpoint, names: dict[int, str]) -> Checkpoint:
    """Such a file with the names that the metadata gives to its values, by the byte at which each begins."""
    if not isinstance(part.root, dict):
        return part
    root = {names.get(begin, begin): value for begin, value in part.root.items()}
    tensors, inner, _ = find_tensors(root)
    unsure = tuple(note for note in part.not_checked if note is not UNNAMED)
    return replace(part, root=root, tensors=tensors, inner=inner, not_checked=unsure)
