"""The unpickler's stack, memo and dicts: names are computed as Python computes them, and no dict key is dear."""

from __future__ import annotations

import pickle

import pytest

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import Machine
from ckpt_doctor.inert.pickle_reader import read
from tests.readers.attacks import dangerous, with_program


def test_a_computed_name(tmp_path):
    """A name that only running the pickle would tell is dangerous by that."""
    program = b"\x80\x04\x8c\x05posix\x8c\x03str\x8c\x06system\x85R\x93\x8c\x01x\x85R."
    assert ["posix.<computed>"] == dangerous(with_program(tmp_path / "zip", program))


WHOLE = (1 << 61) - 1
"""What an integer may grow by without another hash."""


SAME_HASH = {
    "integers": lambda i: i * WHOLE,
    "complex numbers": lambda i: complex(-1000003 * i, i),
    "tuples": lambda i: (i * WHOLE, "x"),
    "tuples in tuples": lambda i: ((complex(-1000003 * i, i),), 1),
    "frozen sets": lambda i: frozenset([i * WHOLE]),
    "tuples of -1 and -2": lambda i: tuple(-1 - (i >> bit & 1) for bit in range(12)),
}


@pytest.mark.parametrize("container", [dict.fromkeys, set, frozenset])
@pytest.mark.parametrize("kind", SAME_HASH)
def test_keys_of_one_hash_are_not_compared_each_with_each(kind, container, monkeypatch):
    """However many there are, as many are looked up."""
    looked_up = []
    real = Machine.distinct
    monkeypatch.setattr(Machine, "distinct", lambda machine, key: looked_up.append(key) or real(machine, key))
    for count in (300, 600):
        keys = [SAME_HASH[kind](i) for i in range(1, count)]
        assert 1 == len(set(map(hash, keys)))
        looked_up.clear()
        reading = read(pickle.dumps(container(keys), 4))
        assert ["limit-exceeded"] == [damage.kind for damage in reading.damage]
        assert limits.MAX_EQUAL_HASHES + 1 == len(set(looked_up))


def test_healthy_keys_are_all_taken():
    """Of any kind, many, and again and again in other dicts."""
    keys = [(i, -1 - i % 2) for i in range(3000)] + [i / 7 for i in range(3000)] + [complex(i, -2) for i in range(3000)]
    keys += [2.0**i for i in range(-1000, 1000)] + [frozenset([i, -1]) for i in range(3000)] + [-1, -2, 1 << 70]
    value = [dict.fromkeys(keys, i) for i in range(3)]
    reading = read(pickle.dumps(value, 4))
    assert [] == reading.damage
    assert value == reading.root
