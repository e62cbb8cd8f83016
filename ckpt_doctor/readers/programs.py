"""The pickles of one file: the one that describes the checkpoint, and those that hide behind and inside it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.attributes import GETATTR, resolve
from ckpt_doctor.inert.pickle_machine import Payload, Persistent, Reading
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.types import Damage, Global

BEHIND = "a second pickle stands behind the end of the first"


@dataclass
class Programs:
    """What all pickles of a file name, and what is wrong with any of them."""

    globals: dict[tuple[str, str], Global] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """Reasons other than a global for which `torch.load(weights_only=True)` refuses the file."""

    payloads: int = 0
    """Storages that came as streams inside a pickle (`torch.storage._load_from_bytes`)."""

    def add(self, reading: Reading, where: str) -> None:
        """Take up a pickle's globals and damage; `where` names the record it stands in."""
        for key, value in reading.globals.items():
            self.globals.setdefault(key, value)
        for damage in reading.damage:
            place = ", ".join(part for part in (where, damage.where) if part)
            self.damage.append(Damage(damage.kind, damage.message, place, damage.found, damage.expected))
        if reading.latin1:
            self.refusals.append("it holds 8-bit strings of Python 2; loading needs encoding='latin1'")


def read_program(
    programs: Programs,
    data: bytes,
    start: int,
    persistent: Persistent | None,
    where: str,
    payload: Payload | None = None,
    *,
    trailing: bool = True,
) -> Reading:
    """Read the pickle at `start`, and, with `trailing`, whatever pickles follow its STOP up to the end of `data`.

    What follows is no part of the checkpoint, but a loader that reads on would execute it.
    """
    reading = read(data, start, persistent, payload)
    if GETATTR in reading.globals:
        resolve(data, reading)
    programs.add(reading, where)
    refused = refused_opcodes(reading)
    if refused:
        programs.refusals.append(refused)
    if trailing and reading.finished:
        _read_behind(programs, data, reading.end, where, payload)
    return reading


def _read_behind(programs: Programs, data: bytes, start: int, where: str, payload: Payload | None) -> None:
    for _ in range(limits.MAX_PROGRAMS):
        if start >= len(data):
            return
        more = read(data, start, None, payload)
        if more.globals:
            more.damage = [damage for damage in more.damage if damage.kind == "dangerous-global"]
            programs.add(more, f"{where} behind STOP".strip())
            programs.damage.append(Damage("malformed-pickle", BEHIND, where=f"byte {start}"))
        if not more.finished or more.end <= start:
            return
        start = more.end


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
