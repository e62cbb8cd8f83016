"""An archive behind a URL: where its records begin without their local headers, and what is not looked at for that.

torch writes one record behind the other, each followed by a descriptor, so the next header shows where the bytes of a
record end (caffe2/serialize/inline_container.cc, `PyTorchStreamWriter::writeRecord`; miniz.c,
`mz_zip_writer_add_mem_ex_v2`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ckpt_doctor.inert.zip_structures import ALIGNMENT, DESCRIPTOR, LOCAL, STORED, Directory, Entry
from ckpt_doctor.readers.file_view import FileView, Range
from ckpt_doctor.readers.zip_unlisted import Stretch, between, listed
from ckpt_doctor.types import A_COPY, NotChecked

_WIDE = 1 << 32
_MOST_PADDING = 88
"""Bytes of a local extra field as torch writes it: 67 of padding, 20 of zip64 and one to spare."""
_MOST_HEADERS = 32
"""Requests for local headers that arithmetic does not replace."""
_HEAD = 1 << 12
_MOST_SEARCHED = 1 << 20
"""Bytes of a remote archive outside of all records that are searched for hidden ones."""


class Far(Protocol):
    """A view whose reads are requests."""

    def has(self, offset: int, count: int) -> bool:
        """Whether bytes are here already."""

    def plan(self, ranges: Iterable[Range]) -> None:
        """Say what will be read."""


def far_of(view: FileView) -> Far | None:
    """The view, where each read of it is a request."""
    return view if view.far else None


def header_range(entry: Entry) -> Range:
    """Where the local header of a record is, with room for its extra field."""
    return entry.header, LOCAL.size + len(entry.name) + 128


def places(entries: Sequence[Entry], directory: int, far: Far) -> dict[int, int]:
    """Index of a record whose local header is not read -> where its bytes begin; -1 where that is not known.

    The other headers are read at one go. `directory` is where the central directory begins.
    """
    order = sorted(range(len(entries)), key=lambda i: entries[i].header)
    found: dict[int, int] = {}
    missing = []
    for index, following in zip(order, (*order[1:], None), strict=True):
        entry = entries[index]
        if far.has(*header_range(entry)):
            continue
        data = _data(entry, directory if following is None else entries[following].header)
        if data is None:
            missing.append(index)
        else:
            found[index] = data
    found |= dict.fromkeys(missing[_MOST_HEADERS:], -1)
    far.plan(header_range(entries[index]) for index in missing[:_MOST_HEADERS])
    return found


def _data(entry: Entry, following: int) -> int | None:
    """Where the bytes of a record begin, if what follows it begins there; None where torch does not write it so."""
    wide = entry.size >= _WIDE or entry.header >= _WIDE
    descriptor = (24 if wide else 16) if entry.flags & DESCRIPTOR else 0
    data = following - descriptor - entry.compressed
    padding = data - entry.header - LOCAL.size - len(entry.listed)
    fits = entry.method == STORED and data % ALIGNMENT == 0 and 0 <= padding <= _MOST_PADDING
    return data if fits else None


def plan_pickles(view: FileView, directory: Directory, main: Entry, tensors: str) -> None:
    """Plan to read what every archive is asked for: its pickles, and the records outside of the tensors' folder."""
    if view.far:
        small = (e for e in directory.entries if e.data >= 0 and not e.name.startswith(tensors) and e is not main)
        heads = ((e.data, e.compressed if e.name.endswith(".pkl") else min(e.compressed, _HEAD)) for e in small)
        view.plan([(main.data, main.compressed), *heads])


def within_reach(view: FileView, others: Iterable[Entry]) -> tuple[list[Entry], list[NotChecked]]:
    """Of records that nobody knows, those that are looked at, which is planned; and what to say of the rest."""
    if not view.far:
        return [*others], []
    near: list[Entry] = []
    rest: list[Entry] = []
    for entry in others:
        (near if entry.data < 0 or view.has(entry.data, min(entry.compressed, _HEAD)) else rest).append(entry)
    view.plan((entry.data, min(entry.compressed, _HEAD)) for entry in rest[:_MOST_HEADERS])
    if len(rest) <= _MOST_HEADERS:
        return near + rest, []
    why = f"the file is remote, and {len(rest) - _MOST_HEADERS:,} records that no tensor refers to were not read"
    return near + rest[:_MOST_HEADERS], [NotChecked("hidden pickles", why, A_COPY)]


def searched(view: FileView, directory: Directory) -> tuple[list[Stretch], list[NotChecked]]:
    """The stretches of an archive that are not searched for hidden records, and what to say of them."""
    known = listed(directory)
    if not view.far:
        return known, []
    lost = (entry for entry in directory.entries if entry.data < 0)
    known += [(e.header, sum(header_range(e)) + e.compressed) for e in lost]
    outside = sum(last - first for first, last in between(known, view.size))
    if outside <= _MOST_SEARCHED:
        return known, []
    why = f"the file is remote, and {outside:,} bytes of it belong to no record"
    return [(0, view.size)], [NotChecked("hidden records", why, A_COPY)]


def unread(directory: Directory) -> list[NotChecked]:
    """What to say of local headers that were not read."""
    if not directory.unread:
        return []
    what = "whether local headers agree with the directory"
    return [NotChecked(what, f"the file is remote, and {directory.unread:,} of its headers were not read", A_COPY)]
