"""Finds pickles in an archive that no directory of it lists.

torch never looks at them. A reader that walks the local headers does, and so does every reader once the file is cut
at an earlier end: an append leaves the old records and the old directory in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.inert.zip_structures import DEFLATED, END, LOCAL, LOCAL_MAGIC, Directory, LocalHeader
from ckpt_doctor.readers.neighbours import object_pickle
from ckpt_doctor.readers.programs import Programs, read_disguised
from ckpt_doctor.readers.safety import judge
from ckpt_doctor.readers.source import Source
from ckpt_doctor.types import Damage
from ckpt_doctor.types.record import record

_DESCRIPTOR = 24
"""Bytes of the longest data descriptor (APPNOTE 4.3.9): what lies between two records that follow each other."""
_READ_AGAIN = 4
"""Times that the bytes of a stretch may be read as pickles: headers can be made to overlap."""

Stretch = tuple[int, int]
"""First byte, and the one behind the last."""


@record(frozen=True)
class _Record:
    """A record that was found by its local header."""

    name: str
    header: int
    """Offset of the local header in the file."""
    data: bytes
    start: int
    """Where in `data` its bytes begin. Where they end is not known: the header may leave the size to a descriptor."""


def listed(directory: Directory) -> list[Stretch]:
    """What a directory accounts for: the records, itself, its end record."""
    stretches = [(entry.header, entry.data + entry.compressed) for entry in directory.entries if entry.data >= 0]
    return [*stretches, (directory.offset, directory.end + END.size)]


def read_unlisted(
    programs: Programs, source: Source, known: Iterable[Stretch], end: int, new_programs: Callable[[], Programs]
) -> None:
    """Take up what pickles before `end` and outside the `known` stretches name, where that is dangerous.

    Nothing else about them matters: they are not part of the checkpoint. Nothing is read where the stretches
    leave no more than a data descriptor between them. `new_programs` makes what each is read into.
    """
    left = limits.MAX_UNLISTED_BYTES
    for first, last in between(known, end):
        left -= last - first
        if left < 0:
            message = f"{last - first:,} bytes that belong to no record are not searched for hidden ones"
            programs.damage.append(Damage("limit-exceeded", message, where=f"byte {first}"))
            return
        work = _READ_AGAIN * (last - first)
        for found in _records(source.read_at(first, last - first), first):
            work -= _take_up(programs, found, new_programs())
            if work < 0:
                message = "local headers overlap, and what they hide is not read to its end"
                programs.damage.append(Damage("limit-exceeded", message, where=f"byte {first}"))
                return


def between(known: Iterable[Stretch], end: int) -> Iterator[Stretch]:
    """What lies between known stretches and is longer than a descriptor."""
    at = 0
    for first, last in (*sorted(known), (end, end)):
        if first - at > _DESCRIPTOR and end - at > _DESCRIPTOR:
            yield at, min(first, end)
        if last > at:
            at = last


def _records(raw: bytes, offset: int) -> Iterator[_Record]:
    """Every local header, and what stands behind it."""
    at = raw.find(LOCAL_MAGIC)
    while 0 <= at <= len(raw) - LOCAL.size:
        header = LocalHeader._make(LOCAL.unpack_from(raw, at))
        behind_name = at + LOCAL.size + header.name_length
        start = behind_name + header.extra_length
        name = shown(raw[behind_name - min(header.name_length, 200) : behind_name].decode("utf-8", "backslashreplace"))
        if start < len(raw):
            if header.method == DEFLATED:
                yield _Record(name, offset + at, _inflated(raw, start), 0)
            else:
                yield _Record(name, offset + at, raw, start)
        at = raw.find(LOCAL_MAGIC, at + 1)


def _inflated(raw: bytes, start: int) -> bytes:
    import zlib  # torch compresses nothing

    try:
        return zlib.decompressobj(-15).decompress(memoryview(raw)[start:], limits.inflated(len(raw) - start))
    except zlib.error:
        return b""


def _take_up(programs: Programs, candidate: _Record, found: Programs) -> int:
    """Read one record; returns how many bytes of the file that was worth."""
    start = candidate.start + (object_pickle(candidate.data[candidate.start : candidate.start + (1 << 12)]) or 0)
    count = read_disguised(found, lambda n: candidate.data[start : start + n], candidate.name)
    bad = {key: name for key, name in found.globals.items() if judge(name) == "dangerous"}
    soft = [damage for damage in found.damage if damage.kind == "dangerous-global"]
    programs.calls.update((key, name) for key, name in found.calls.items() if key not in programs.calls)
    if bad or soft:
        for key, name in bad.items():
            programs.globals.setdefault(key, name)
        message = "the file has a pickle that no directory lists: torch.load ignores it, other readers may run it"
        programs.damage += [*soft, Damage("name-conflict", message, where=f"{candidate.name}, byte {candidate.header}")]
    return max(count, len(candidate.data) // limits.MAX_INFLATE_RATIO if candidate.start == 0 else 0)
