"""Reads an archive of `torch.save` that lies, as it is, in a file of another kind."""

from __future__ import annotations

from zlib import crc32

from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.inert.storages import torch_storage
from ckpt_doctor.inert.tensor_list import find_tensors
from ckpt_doctor.inert.zip_structures import STORED, DirectoryError
from ckpt_doctor.readers.assemble import Content
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.programs import Programs, read_program
from ckpt_doctor.readers.source import Slice
from ckpt_doctor.readers.zip_directory import archive_prefix, read_directory
from ckpt_doctor.readers.zip_records import DESCRIPTION_CHANGED, missing, record
from ckpt_doctor.types import Damage


def archive_inside(view: FileView, begin: int, size: int, name: str, content: Content, programs: Programs) -> object:
    """What a file of `torch.save` holds that is inside another; its storages are named after it, and lie in the whole.

    `begin` and `size`: where it is. Never raises for its content."""
    source = Slice(view, begin, size)
    try:
        directory = read_directory(source.read_at, source.size)
    except DirectoryError as error:
        message = f"it is cut off, or no archive of torch.save ({error}); loading raises"
        content.damage.append(Damage("missing-record", message, shown(name)))
        return None
    prefix = archive_prefix(directory)
    content.damage += directory.damage
    main = next((entry for entry in directory.entries if entry.name == f"{prefix}data.pkl"), None)
    if main is None or prefix is None:
        content.damage.append(Damage("missing-record", "it has no data.pkl; loading raises", shown(name)))
        return None
    folder = f"{prefix}data/"
    data = {
        f"{name}/{entry.name.removeprefix(folder)}": entry
        for entry in directory.entries
        if entry.name.startswith(folder)
    }
    offsets = {key: begin + entry.data for key, entry in data.items() if entry.method == STORED and entry.data >= 0}
    storages = torch_storage(offsets, f"{name}/", sizes={key: entry.size for key, entry in data.items()}, only=True)
    raw = record(source, main, content.damage)
    reading = read_program(programs, raw, 0, storages, shown(name))
    content.damage += missing(reading, data, "")
    if any(entry.crc for entry in directory.entries):
        content.checksums |= {key: entry.crc for key, entry in data.items()}
        if len(raw) == main.size and crc32(raw) != main.crc:
            content.damage.append(Damage("corrupt-record", DESCRIPTION_CHANGED, shown(name)))
    return reading.root


def take_tree(content: Content, root: object) -> None:
    """A file's tree, and the tensors in it."""
    content.root = root
    content.tensors, content.inner, damage = find_tensors(root)
    content.damage += damage
