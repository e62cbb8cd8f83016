"""Finds stretches of a file that nobody has written: zeros that begin and end where blocks of a disk do.

A download that reserves the whole file first, an upload or a copy that broke off, and a disk that lost blocks leave
zeros in the place of numbers. Where the container has no checksum, only their edges tell them from zeros that were
saved: these begin anywhere in a tensor, or with it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.regions import Region
from ckpt_doctor.types import Damage, TensorInfo

BLOCK = 4096
_ROW = 64
"""Bytes of the shortest rows of numbers that are looked out for."""
_MOST = 64
"""Stretches of one piece; more are a tensor of few numbers."""

Stretch = tuple[int, int]
"""First byte, and the one behind the last."""


def zero_blocks(chunk: memoryview, offset: int) -> list[Stretch]:
    """The rows of whole blocks in a piece of the file, which begins at `offset`, that hold nothing but zeros."""
    skipped = -offset % BLOCK
    count = (len(chunk) - skipped) // BLOCK
    if count <= 0:
        return []
    blocks = np.frombuffer(chunk, "u8", count * BLOCK // 8, skipped).reshape(count, -1)
    zero = np.flatnonzero(blocks[:, 0] == 0)
    zero = zero[~blocks[zero].any(axis=1)]
    rows = np.split(zero, np.flatnonzero(np.diff(zero) > 1) + 1) if len(zero) else []
    begin = offset + skipped
    found = [(begin + int(row[0]) * BLOCK, begin + (int(row[-1]) + 1) * BLOCK) for row in rows[: _MOST + 1]]
    return found if len(found) <= _MOST else []


def never_written(
    view: FileView, regions: Sequence[Region], zeros: Iterable[Stretch], tensors: Mapping[str, Sequence[TensorInfo]]
) -> Iterator[tuple[Damage, set[str]]]:
    """Each stretch of zeros that no writer leaves, with the keys of the storages that it takes.

    `regions` come in order; `tensors` are those of each storage.
    """
    begins = [region.offset for region in regions]
    ends = regions[-1].offset + regions[-1].length if regions else 0
    for first, last in _joined(view, zeros):
        at, until = bisect_right(begins, first) - 1, bisect_right(begins, last - 1) - 1
        region = regions[at]
        if first == region.offset or not any(view.read_at(first - 8, 8)):
            continue  # they begin with a tensor, or amid its numbers
        if not any(view.read_at(last, 8)) and any(view.read_at(last, ends - last)):
            continue
        if at == until and region.offset % _ROW == 0:
            continue  # rows of zeros may begin with a block
        message = (
            f"{last - first:,} bytes from byte {first:,} on are zeros that begin and end with blocks of the disk, amid "
            "the numbers of a tensor: a download, upload or copy did not write them"
        )
        held = tensors.get(region.key or "")
        where = shown(held[0].name if held else region.name)
        keys = {one.key for one in regions[at : until + 1] if one.key}
        yield Damage("missing-record", message, where, last - first), keys


def _joined(view: FileView, zeros: Iterable[Stretch]) -> Iterator[Stretch]:
    """The stretches with those made one between which nothing but zeros lie: a block that two pieces share."""
    begin = end = -1
    for first, last in sorted(zeros):
        if end >= 0 and first - end <= 2 * BLOCK and not any(view.read_at(end, first - end)):
            end = last
            continue
        if end >= 0:
            yield begin, end
        begin, end = first, last
    if end >= 0:
        yield begin, end
