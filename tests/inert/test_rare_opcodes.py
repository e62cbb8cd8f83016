"""The opcodes that torch writes seldom: of Python 2, of other pickle protocols, of attacks."""

from __future__ import annotations

import math
import pickle
import pickletools

import pytest
import torch

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.inert.rare_opcodes import RARE
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.types import Opaque
from tests.readers.torch_files import LEGACY, save


def test_written_by_python_2(tmp_path):
    """SHORT_BINSTRING keys, and 8-bit strings that are not UTF-8: read as latin-1, and said."""
    raw = save(tmp_path / "a", {"key": torch.zeros(2)}, LEGACY).read_bytes()
    path = tmp_path / "b"
    path.write_bytes(raw.replace(b"X\x03\x00\x00\x00key", b"U\x03key"))
    assert ("key",) == open_checkpoint(path).keys
    path.write_bytes(raw.replace(b"X\x03\x00\x00\x00key", b"U\x03k\xe9y"))
    checkpoint = open_checkpoint(path)
    assert ("k\xe9y",) == checkpoint.keys
    assert any("latin1" in damage.message for damage in checkpoint.damage)


VALUES = [
    [True, False, 0, -1, 255, 2**31, -(2**70), 1.5, -0.0, math.inf, "", "aü\n\ud800", b"", b"\x00\xff" * 200],
    [{"a": [1, {2: (3,)}]}, (), (1, 2), [], {}, {1, 2}, frozenset({3}), bytearray(b"ab"), None],
    ["x" * 70_000, b"y" * 70_000, 2**2040, -(2**2040)],
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", VALUES, ids=["atoms", "containers", "large"])
def test_each_protocol_says_the_same_value(value, protocol):
    """What Python's pickler writes for plain data is read back; before protocol 5 it writes calls for some of them."""
    plain = [item for item in value if not (isinstance(item, (set, frozenset, bytes, bytearray)) and protocol < 5)]
    raw = pickle.dumps(plain, protocol)
    reading = read(raw)
    assert [] == reading.damage and len(raw) == reading.end
    assert repr(plain) == repr(reading.root)


def test_every_opcode_is_followed():
    """Those of the main loop, and these: none is left that Python knows."""
    known = {ord(opcode.code) for opcode in pickletools.opcodes}
    assert set(RARE) <= known
    for code in known:
        assert not any("is not a pickle opcode" in damage.message for damage in read(bytes([code])).damage), hex(code)
    (damage,) = read(b"\xff.").damage
    assert "0xff is not a pickle opcode" in damage.message


@pytest.mark.parametrize(
    ("program", "value"),
    [
        (b"I01\nI00\n\x86.", (True, False)),
        (b"L12L\nI-3\n\x86.", (12, -3)),
        (b"S'it\\'s'\n.", "it's"),
        (b"V\\u00fc\n.", "\u00fc"),
        (b"(K\x01K\x02l.", [1, 2]),
        (b"(K\x01K\x02d.", {1: 2}),
        (b"K\x01K\x020.", 1),
        (b"K\x07(K\x01K\x021.", 7),
        (b"K\x01p300\nKa0g300\n.", 1),
        (b"K\x012\x86.", (1, 1)),
    ],
)
def test_text_opcodes_and_those_of_the_stack(program, value):
    assert value == read(program).root == pickle.loads(program)


@pytest.mark.parametrize(
    ("program", "word"),
    [
        (b"Inine\n.", "not a number"),
        (b"Fnine\n.", "not a number"),
        (b"S'open\n.", "no quotes"),
        (b"S'\\x'\n.", "broken escape"),
        (b"T\xff\xff\xff\xff.", "negative length"),
        (b"\x8b\xff\xff\xff\xff.", "negative length"),
        (b"(o.", "no class"),
        (b"\x97.", "out-of-band"),
        (b"\x80\x09N.", "does not exist"),
        (b"I" + b"1" * (limits.MAX_DECIMAL_DIGITS + 1) + b"\n.", "too many digits"),
    ],
)
def test_what_an_opcode_cannot_take_is_told(program, word):
    """Where Python's unpickler raises; never an exception here."""
    with pytest.raises(Exception):  # noqa: B017 (many kinds)
        pickle.loads(program)
    assert [True] == [word in damage.message for damage in read(program).damage]


def test_a_number_that_is_dear_to_print_stays_a_call():
    """Decimal digits of so many bits take quadratic time; the call says the same number."""
    number = 1 << (limits.MAX_INT_BITS + 8)
    value = read(pickle.dumps(number, 2)).root
    assert isinstance(value, Opaque) and number == int(*value.args)


def test_an_extension_code_is_a_name_that_the_file_does_not_say():
    """copyreg's registry of the process that loads decides what it is."""
    (found,) = read(b"\x80\x02\x82\x07)R.").globals.values()
    assert "copyreg" == found.module and "extension 7" in found.name
