"""What a file is, by its content. Suffixes mean nothing: `model.pth.tar` is hardly ever a tar archive."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Literal

from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.neighbours import neighbour, not_a_checkpoint
from ckpt_doctor.readers.views import open_view
from ckpt_doctor.types import Damage

Format = Literal["zip", "torch-legacy", "tar", "safetensors", "pickle"]

HEAD = 4096

# torch/serialization.py: MAGIC_NUMBER = 0x1950A86A20F9469CFC6C, pickled by itself (LONG1, ten bytes)
_LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
# Of the third pickle, by which a stream is known whose number is damaged
_LEGACY_KEYS = (b"protocol_version", b"little_endian", b"type_sizes")
# The opcodes that a protocol 0 or 1 pickle of a container begins with, and PROTO
_PICKLE_STARTS = b"(]}lcdi\x80"
RECORD_FOLDERS = frozenset({"data", "constants", "code", ".data"})
"""Of a torch archive (caffe2/serialize/inline_container.h)."""


def sniff(path: Path) -> Format | Damage:
    """What a file is: a format that may hold a checkpoint, or the `Damage` that says what it is instead.

    Reads its first 4 KiB. Raises OSError when the file cannot be opened.
    """
    with open_view(path) as view:
        return sniff_view(view)


def sniff_view(view: FileView) -> Format | Damage:
    """As `sniff`, of an open file."""
    nothing = without_content(view)
    if nothing is not None:
        return nothing
    head = view.read_at(0, HEAD)
    if not any(head):
        zeros = _only_zeros(view)
        if zeros:
            where = "begins and ends with" if view.far else "holds nothing but"
            message = f"the file {where} zero bytes: space was reserved for it and never written"
            return Damage("empty-file", message, found=view.size)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if _is_legacy(head):
        return "torch-legacy"
    if _is_safetensors(head, view.size):
        return "safetensors"
    if is_tar_header(head):
        return "tar"
    if _is_pickle(head, view):
        return "pickle"
    return neighbour(head, view.read_at(max(0, view.size - 8), 8)) or not_a_checkpoint(
        "not a checkpoint format that ckpt-doctor recognises"
    )


def without_content(view: FileView) -> Damage | None:
    """What has no bytes to read: a folder, a pipe, an empty file."""
    if not stat.S_ISREG(view.mode):
        return not_a_checkpoint("a folder" if stat.S_ISDIR(view.mode) else "not a regular file")
    if view.size == 0:
        return Damage("empty-file", "the file is empty: its writer opened it and wrote nothing", found=0)
    return None


def is_unpacked(folder: Path) -> bool:
    """Whether a folder has the records of a torch archive: its `data.pkl`, its version, and what goes with them."""
    try:
        beside = (folder / "data").is_dir() or (folder / "byteorder").is_file()
        if not (beside and (folder / "data.pkl").is_file() and (folder / "version").is_file()):
            return False
        with open_view(folder / "version") as view:
            return view.read_at(0, 16).strip().isdigit()
    except OSError:
        return False


def _only_zeros(view: FileView) -> bool:
    """Whether the file holds no other byte. What the file system never stored is zeros, and is not read."""
    at: int | None = 0
    while at is not None and at < view.size:
        at = view.stored_from(at)
        if at is not None:
            if any(view.read_at(at, 1 << 20)):
                return False
            at += 1 << 20
    return True


def _is_legacy(head: bytes) -> bool:
    # PROTO n and the magic number; protocol 4 puts a FRAME between them, protocols 0 and 1 write a decimal
    start = head[:32]
    if _LEGACY_MAGIC in start or start.startswith(b"L119547037146038801333356L\n."):
        return True
    start = head[:200]  # a bare pickle holds its tensors as streams, in bytes that it has a function load
    return sum(key in start for key in _LEGACY_KEYS) > 1 and b"_load_from_bytes" not in start


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return head[8:72].lstrip(b" \t\r\n")[:1] == b"{" and 2 <= length < max(size, 1 << 32)


def is_tar_header(head: bytes) -> bool:
    """Whether the first 512 bytes are the header of a tar member, by its checksum."""
    if len(head) < 512:
        return False
    # The checksum counts its own field as spaces (POSIX ustar)
    field = head[148:156].strip(b"\x00 ")
    if not field or not all(48 <= digit < 56 for digit in field):
        return False
    return int(field, 8) == sum(head[:148]) + 8 * 32 + sum(head[156:512])


def _is_pickle(head: bytes, view: FileView) -> bool:
    if head[0] == 0x80 and len(head) > 1 and head[1] <= 5:
        return True
    if head[0] not in _PICKLE_STARTS or view.size > 1 << 28:
        return False
    reading = read(head)
    if reading.ran_out and view.size > len(head):
        reading = read(view.read_at(0, view.size))
    return reading.finished and reading.end > 1
