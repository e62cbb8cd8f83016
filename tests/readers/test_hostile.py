"""Hostile files: nothing runs, nothing hangs, nothing escapes notice."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ckpt_doctor import scan
from ckpt_doctor.audit.compare import compare
from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import Machine
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.deep import deep_check
from ckpt_doctor.reports import inspected
from tests.readers.test_open import rezip, save, tar_checkpoint, training


class Payload:
    """Pickles as a call that creates the canary file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@pytest.fixture
def canary(tmp_path):
    """A path that must not exist after the test."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


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


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_seen_wherever_it_hides(tmp_path, canary, name):
    """In `data.pkl`, in a bare pickle, in the magic number of a legacy stream: the name is reported."""
    program = CALLS[name]
    assert dangerous(with_program(tmp_path / "zip", program))
    bare = tmp_path / "bare.pkl"
    bare.write_bytes(b"\x80\x04" + program)
    assert dangerous(bare)


def test_a_computed_name(tmp_path):
    """A name that only running the pickle would tell is dangerous by that."""
    program = b"\x80\x04\x8c\x05posix\x8c\x03str\x8c\x06system\x85R\x93\x8c\x01x\x85R."
    assert ["posix.<computed>"] == dangerous(with_program(tmp_path / "zip", program))


def test_every_pickle_of_a_legacy_stream(tmp_path, canary):
    """A payload in the magic number, the protocol, the system information, the keys."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    rest = [pickle.dumps(1001, 2), pickle.dumps({}, 2), pickle.dumps({}, 2), pickle.dumps([], 2)]
    payload = pickle.dumps(Payload(canary), 2)
    for place in range(4):
        parts = [magic, *rest]
        parts[place + 1] = payload
        path = tmp_path / f"legacy{place}"
        path.write_bytes(b"".join(parts))
        assert ["posix.system"] == dangerous(path)
    # before the number itself: run, popped, and the right number left on the stack
    hidden = payload[:-1] + b"0" + magic[2:]
    (tmp_path / "hidden").write_bytes(b"".join([hidden, *rest]))
    assert ["posix.system"] == dangerous(tmp_path / "hidden")
    assert "torch-legacy" == open_checkpoint(tmp_path / "hidden").container


def test_tar_members(tmp_path, canary):
    """Every pickle in an old tar is examined."""
    path = tar_checkpoint(tmp_path / "t")
    raw = path.read_bytes()
    call = b"cposix\nsystem\nX\x01\x00\x00\x00x\x85R0"
    at = raw.index(b"\x80\x02ccollections")
    path.write_bytes(raw[:at] + b"\x80\x02" + call + b"}." + raw[at + 4 + len(call) :])
    assert ["posix.system"] == dangerous(path)


def test_names_that_differ_between_header_and_directory(tmp_path):
    """A record called data/0 in one place and data.pkl in the other; encryption bits; both are told."""
    raw = save(tmp_path / "a", {"w": torch.zeros(2)}).read_bytes()
    conflict = tmp_path / "b"
    conflict.write_bytes(raw.replace(b"a/data/0", b"a/evil/0", 1))
    assert any("evil" in d.message for d in open_checkpoint(conflict).damage if d.kind == "name-conflict")
    at = raw.rindex(b"PK\x01\x02")
    locked = tmp_path / "c"
    locked.write_bytes(raw[: at + 8] + b"\x01" + raw[at + 9 :])
    assert any("encrypted" in d.message for d in open_checkpoint(locked).damage if d.kind == "name-conflict")


def test_pickles_under_other_names(tmp_path):
    """A second pickle in the archive, and one whose name differs only in case, which torch would take too."""
    source = save(tmp_path / "a", {"w": torch.zeros(2)})
    for name in ("a/other.pkl", "a/DATA.PKL"):
        target = rezip(source, tmp_path / "b")
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr(name, CALLS["plain"])
        assert ["posix.system"] == dangerous(target)


BOMBS = {
    "memo index 2**32": b"}r\xff\xff\xff\xff.",
    "gigabytes of text": b"X\xff\xff\xff\xffabc.",
    "gigabytes of bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "frame of an exabyte": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
    "hash of nested tuples": b"}" + b"K\x01" + b"2\x86" * 60 + b"Ns.",
    "deep tuple as a key": b"}" + b")" + b"\x85" * 500_000 + b"Ns.",
    "deep list": b"]" * 500_000 + b"a" * 499_999 + b".",
    "deep call": b"cbuiltins\nobject\nq\x00" + b"h\x00(" * 100_000 + b"tR" * 100_000 + b".",
    "decimal of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "wide integer": b"\x80\x02\x8b\x40\x42\x0f\x00" + b"\x7f" * 1_000_000 + b".",
    "colliding integers": b"\x80\x02}("
    + b"".join(b"\x8a\x0a" + (i * ((1 << 61) - 1)).to_bytes(10, "little") + b"N" for i in range(1, 40_000))
    + b"u.",
    "doubled strings as keys": b"}X\x00\x00\x10\x00" + b"a" * (1 << 20) + b"q\x000" + b"h\x00Ns" * 100_000 + b".",
    "copies of a text": b"X\x00\x00\x10\x00"
    + b"a" * (1 << 20)
    + b"q\x000c_codecs\nencode\nq\x01X\x06\x00\x00\x00latin1q\x020("
    + b"h\x01h\x00h\x02\x86R" * 20_000
    + b"l.",
    "many containers": b"}" * 5_000_000 + b".",
    "impossible shape": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQK\x00("
    + b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f" * 60
    + b"t("
    + b"K\x01" * 60
    + b"t\x89}tR.",
}


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


@pytest.mark.long
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_cheap(name):
    """What asks for more than the file holds costs no more than the file."""
    start = time.process_time()
    reading = read(BOMBS[name])
    assert time.process_time() - start < 5
    assert reading.finished or reading.damage


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_in_files_are_findings_or_harmless(tmp_path, name):
    """As whole files they give a checkpoint value, deep nesting included."""
    path = tmp_path / "bomb"
    path.write_bytes(b"\x80\x02" + BOMBS[name])
    assert open_checkpoint(path).container in ("pickle", "unknown")


def test_zip_bombs(tmp_path):
    """A pickle that inflates a thousandfold, a directory of a billion entries, terabytes declared."""
    path = tmp_path / "bomb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"}." + bytes(300_000_000))
    assert open_checkpoint(path).is_damaged("limit-exceeded")
    raw = save(tmp_path / "a", {"w": torch.zeros(2)}).read_bytes()
    at = raw.rindex(b"PK\x06\x06")
    path.write_bytes(raw[: at + 24] + struct.pack("<QQ", 1 << 40, 1 << 40) + raw[at + 40 :])
    assert open_checkpoint(path).is_damaged("truncated-archive")
    at = raw.rindex(b"PK\x01\x02")
    path.write_bytes(raw[: at + 20] + struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0) + raw[at + 28 :])
    deep_check(open_checkpoint(path))


def test_checkpoints_inside_checkpoints(tmp_path):
    """A stream in a pickle in a stream, and so on: followed to a limit, then said."""
    program = b"}."
    for _ in range(12):
        program = b"\x80\x04ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(program)) + program + b"\x85R."
    path = tmp_path / "nested"
    path.write_bytes(program)
    assert open_checkpoint(path).is_damaged("limit-exceeded")


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":' * 20_000,
        b'{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,4]}}',
        b'{"a":1,"a":2}',
        b"{}" + b" " * 99,
    ],
)
def test_hostile_safetensors(tmp_path, header):
    """Deep JSON, impossible shapes, repeated keys."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert "safetensors" == open_checkpoint(path).container
    path.write_bytes(struct.pack("<Q", (1 << 32) - 1) + header)
    assert open_checkpoint(path).is_damaged()


def sources(folder: Path, canary: Path) -> list[bytes]:
    """Real files of every container, with a payload in each that can carry one."""
    value = {**training(), "x": Payload(canary)}
    files = [save(folder / "zip", value).read_bytes(), save(folder / "legacy", value, False).read_bytes()]
    files.append(tar_checkpoint(folder / "tar").read_bytes())
    files += [pickle.dumps({"w": torch.zeros(3), "x": Payload(canary)}, protocol) for protocol in (0, 2, 4)]
    from safetensors.torch import save as save_safetensors

    files.append(save_safetensors({"a": torch.zeros(3), "b": torch.ones(2, 2)}))
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    files.append(buffer.getvalue())
    np.savez(folder / "arrays.npz", numbers=np.arange(3), objects=np.array([Payload(canary)], dtype=object))
    files.append((folder / "arrays.npz").read_bytes())
    files += [program if program[:1] == b"\x80" else b"\x80\x02" + program for program in CALLS.values()]
    return files


def mutated(raw: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Flips, overwrites, insertions, deletions, truncations, swaps of blocks, and pieces of other files."""
    data = bytearray(raw)
    if rng.random() < 0.15:  # the beginning of one file, the end of another
        other = rng.choice(others)
        data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other)) :]
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(8):
            case 0 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at] = rng.choice((0, 0xFF, 0x7F, 0x80, ord("."), ord("("), ord("R"), rng.randrange(256)))
            case 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                del data[at : at + rng.randrange(1, 50)]
            case 4 if rng.random() < 0.3:
                del data[at:]
            case 5:
                other = rng.randrange(len(data)) if data else 0
                data[at : at + 16] = data[other : other + 16]
            case 6:
                data[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 1 << 20)))
            case 7:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                data[at:at] = other[start : start + rng.randrange(1, 200)]
    return bytes(data)


def survive(tmp_path: Path, canary: Path, count: int) -> None:
    """Audit and show `count` mutated files; none may raise, take long or run anything."""
    rng = random.Random(20260101)
    originals = sources(tmp_path, canary)
    path = tmp_path / "mutated"
    for number in range(count):
        path.write_bytes(mutated(originals[number % len(originals)], rng, originals))
        start = time.process_time()
        (file,) = scan([path], deep=True).files
        for form in ("table", "tree", "json"):
            inspected(file, form)
        compare(file.checkpoint, file.checkpoint, deep=True)
        assert time.process_time() - start < 5
        assert not canary.exists()


def test_mutated_files(tmp_path, canary):
    """A few hundred mutated files of every container."""
    survive(tmp_path, canary, 400)


@pytest.mark.long
def test_many_mutated_files(tmp_path, canary):
    """Twenty thousand of them."""
    survive(tmp_path, canary, 20_000)
