"""The pickles of one file: the one that describes the checkpoint, and those that hide behind and inside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import field
from functools import partial

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.attributes import GETATTR, resolve
from ckpt_doctor.inert.pickle_machine import Payload, Persistent, Reading
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.readers.safety import judge
from ckpt_doctor.types import Damage, Global, StorageInfo
from ckpt_doctor.types.record import record

BEHIND = "a second pickle follows the first"
_FIRST_READ = 1 << 9
"""Bytes read of what is probably not a pickle: most stop being one after a few."""
_NAMING = re.compile(rb"[ci].*\n.*\n|[\x82-\x84\x93]")
"""The opcodes by which a pickle names something (GLOBAL and INST, in two lines, EXT1 to EXT4, STACK_GLOBAL)."""


@record
class Programs:
    """What all pickles of a file name, and what is wrong with any of them."""

    reads_inside: Callable[[Programs, bytes, int | None], StorageInfo | None] | None = None
    """Reads checkpoints whose bytes are inside a pickle (`payloads.file_programs`)."""
    outer: Programs | None = None
    """Those that take up what these checkpoints name; None: these."""
    globals: dict[tuple[str, str], Global] = field(default_factory=dict)
    calls: dict[tuple[str, str], Global] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Reasons other than a global for which `torch.load(weights_only=True)` refuses the file."""

    payloads: int = 0
    """Storages that came as streams inside a pickle (`torch.storage._load_from_bytes`)."""

    @property
    def payload(self) -> Payload | None:
        """The same for these programs; not kept, for a cycle of references lives on until somebody looks for it."""
        return None if self.reads_inside is None else partial(self.reads_inside, self.outer or self)

    def add(self, reading: Reading, where: str) -> None:
        """Take up a pickle's names, calls and damage; `where` names the record that contains it."""
        self.take_names(reading)
        for damage in reading.damage:
            place = ", ".join(part for part in (where, damage.where) if part)
            self.damage.append(Damage(damage.kind, damage.message, place, damage.found, damage.expected))
        if reading.latin1:
            self.refusals.append("it holds 8-bit strings of Python 2; loading needs encoding='latin1'")

    def take_names(self, other: Reading | Programs) -> None:
        """Take up what other pickles name and call."""
        for mine, theirs in ((self.globals, other.globals), (self.calls, other.calls)):
            for key, value in theirs.items():
                mine.setdefault(key, value)


def read_program(
    programs: Programs,
    data: bytes,
    start: int,
    persistent: Persistent | None,
    where: str,
    *,
    trailing: bool = True,
) -> Reading:
    """Read the pickle at `start`, and, with `trailing`, whatever pickles follow its STOP up to the end of `data`.

    What follows is no part of the checkpoint, but a loader that reads on would execute it.
    """
    reading = _added(programs, data, start, persistent, where)
    refused = refused_opcodes(reading)
    if refused:
        programs.refusals.append(refused)
    if trailing and reading.finished:
        _read_behind(programs, data, reading.end, where)
    return reading


def _added(programs: Programs, data: bytes, start: int, persistent: Persistent | None, where: str) -> Reading:
    reading = read(data, start, persistent, programs.payload)
    if GETATTR in reading.globals:
        resolve(data, reading)
    programs.add(reading, where)
    return reading


def _read_behind(programs: Programs, data: bytes, start: int, where: str) -> None:
    for _ in range(limits.MAX_PROGRAMS):
        if start >= len(data):
            return
        more = read(data, start, None, programs.payload)
        if more.globals:
            more.damage = [damage for damage in more.damage if damage.kind == "dangerous-global"]
            programs.add(more, f"{where} behind STOP".strip())
            programs.damage.append(Damage("malformed-pickle", BEHIND, where=f"byte {start}"))
        if not more.finished or more.end <= start:
            return
        start = more.end


def growing(head: Callable[[int], bytes], first: int) -> Iterator[bytes]:
    """The first bytes of something, more each time, while there are more: for a pickle that ran out of them."""
    count = first
    while True:
        data = head(min(count, limits.MAX_PROGRAM_BYTES))
        yield data
        if len(data) < count or count >= limits.MAX_PROGRAM_BYTES:
            return
        count *= 8


def read_disguised(programs: Programs, head: Callable[[int], bytes], where: str = "") -> int:
    """Take up what bytes of any kind would run if something unpickled them; returns how many were read.

    `head` gives as many of the first bytes as it is asked for. Of bytes that are not a whole pickle only what is
    dangerous counts: an unpickler runs it before it notices. Text begins with opcodes too (`c` names a global in the
    next two lines), so without the opcode PROTO a name must look like one.
    """
    for data in growing(head, _FIRST_READ):
        if len(data) < _FIRST_READ and not _NAMING.search(data):  # `byteorder`, the serialization id
            return len(data)
        found, behind = (Programs(programs.reads_inside, programs.outer or programs) for _ in range(2))
        reading = _added(found, data, 0, None, where)
        if reading.finished:
            _read_behind(behind, data, reading.end, where)
        if not reading.ran_out:
            break
    for part, start in ((found, 0), (behind, reading.end)):  # behind the STOP there may be a checksum
        marked = data.startswith(b"\x80", start)
        for key, name in part.globals.items():
            is_a_name = marked or all(word.isidentifier() for word in str(name).split("."))
            if (judge(name) == "dangerous" and is_a_name) or (marked and reading.finished):
                programs.globals.setdefault(key, name)
        if marked and reading.finished:
            programs.damage += [damage for damage in part.damage if damage.kind == "dangerous-global"]
    return len(data)


# Opcodes that `torch/_weights_only_unpickler.py`, `Unpickler.load`, knows; all others raise "Unsupported operand"
_WEIGHTS_ONLY = frozenset(b"\x80c\x81Rb aesu(t\x85\x86\x87N\x88\x89)]}\x8fJKMGXUQhjqr\x8a.") - frozenset(b" ")


def refused_opcodes(reading: Reading) -> str:
    """Why the restricted unpickler refuses this pickle whatever it names; empty when it does not."""
    if reading.protocol > 3:
        return (
            f"it is written in pickle protocol {reading.protocol}, whose opcodes the restricted unpickler does not know"
        )
    unknown = sorted(reading.opcodes - _WEIGHTS_ONLY)
    if not unknown:
        return ""
    from pickletools import opcodes  # few files need their names

    named = {opcode.code: opcode.name for opcode in opcodes}
    names = [named.get(chr(op), f"0x{op:02x}") for op in unknown]
    return f"it uses opcodes that the restricted unpickler does not know ({', '.join(names)})"
