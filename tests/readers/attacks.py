"""Pickles that would run something, and what the reader says of them."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ckpt_doctor.readers import open_checkpoint
from tests.readers.torch_files import rezip, save


class Payload:
    """Pickles as a call that creates the canary file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def dangerous(path: Path) -> list:
    """What the reader calls dangerous in a file."""
    return [damage.found for damage in open_checkpoint(path).damage if damage.kind == "dangerous-global"]


def with_program(path: Path, program: bytes) -> Path:
    """A real archive whose `data.pkl` is another."""
    source = save(path.with_name("source"), {"w": torch.zeros(2)})
    return rezip(source, path, lambda name, data: program if name == "data.pkl" else data)


SYSTEM = b"cposix\nsystem\n"


CALLS = {
    "plain": SYSTEM + b"X\x01\x00\x00\x00xR.",
    "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x01x\x85R.",
    "memo trick": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93\x8c\x01x\x85R.",
    "dotted": b"\x80\x04\x8c\x06random\x8c\x0a_os.system\x93\x8c\x01x\x85R.",
    "inst": b"(X\x01\x00\x00\x00xiposix\nsystem\n.",
    "obj": b"(cposix\nsystem\nX\x01\x00\x00\x00xo.",
    "newobj": b"\x80\x02cposix\nsystem\n)\x81.",
    "popped": SYSTEM + b"X\x01\x00\x00\x00xR0}.",
    "behind stop": b"}." + SYSTEM + b"X\x01\x00\x00\x00xR.",
    "partial": b"cfunctools\npartial\n(cposix\nsystem\nX\x01\x00\x00\x00xtR)R.",
    "torch.load": b"ctorch.serialization\nload\nX\x01\x00\x00\x00x\x85R.",
    "python 2 name": b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x00x\x85R.",
    "python 2 module": b"\x80\x02ccommands\ngetoutput\nX\x01\x00\x00\x00x\x85R.",
    "as a key": b"}cposix\nsystem\nNs.",
    "in a persistent id": b"(cposix\nsystem\ntQ.",
    "getattr": b"cbuiltins\ngetattr\n(cposixpath\nos\nX\x06\x00\x00\x00systemtR.",
    "after an unknown memo": SYSTEM + b"X\x01\x00\x00\x00xRh\x09.",
    "before a broken opcode": SYSTEM + b"X\x01\x00\x00\x00xR\xff",
    "with a frame beyond the end": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f"
    + SYSTEM
    + b"X\x01\x00\x00\x00x\x85R.",
    "as bytes to load": b"\x80\x03ctorch.storage\n_load_from_bytes\nC"
    + bytes([len(SYSTEM) + 9])
    + SYSTEM
    + b"X\x01\x00\x00\x00x\x85R."[:8]
    + b"."
    + b"\x85R.",
}
CALL = CALLS["plain"]


def text(value: str) -> bytes:
    """SHORT_BINUNICODE."""
    return b"\x8c" + bytes([len(value)]) + value.encode()


def name(module: str, inner: str) -> bytes:
    """STACK_GLOBAL."""
    return text(module) + text(inner) + b"\x93"


def call(module: str, inner: str, *arguments: bytes) -> bytes:
    """REDUCE."""
    return name(module, inner) + b"(" + b"".join(arguments) + b"tR"


def instance(module: str, inner: str, state: bytes = b"") -> bytes:
    """NEWOBJ, and BUILD with a state."""
    return name(module, inner) + b")\x81" + (state + b"b" if state else b"")


def attributes(**values: bytes) -> bytes:
    """EMPTY_DICT and SETITEMS."""
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def alarms(path: Path) -> list[str]:
    """What the reader says beyond notes on other packages and on weights_only."""
    spared = {"not-weights-only", "unknown-global"}
    return [damage.message for damage in open_checkpoint(path).damage if damage.kind not in spared]


COMMAND = text("touch canary")


INNER = b"\x80\x04" + name("posix", "system") + COMMAND + b"\x85R."
