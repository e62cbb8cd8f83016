"""What the safetensors library refuses is a finding; what it accepts is read with the same result."""

from __future__ import annotations

import json
import random
import struct
from math import prod
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open

from ckpt_doctor.readers import open_checkpoint
from tests.readers.torch_equal import bits, read_tensor

BITS = {
    "F32": 32,
    "I64": 64,
    "BOOL": 8,
    "F16": 16,
    "F6_E2M3": 6,
    "C64": 64,
    "F8_E8M0": 8,
    "BF16": 16,
    "C128": 128,
    "f32": 32,
}
METADATA = ['{"format":"pt"}', '{"a":1}', '{"a":null}', "{}", "null", "1", '"x"', "[]", '{"a":{}}', '{"a":"x","a":"y"}']
SPELLINGS = [(b"}", b",}"), (b"8", b"08"), (b"8", b"8.0"), (b"8", b"8e0"), (b"a", b"\xff"), (b'"a"', b'"\\ud800"')]
SPELLINGS += [
    (b"[0", b"[-0"),
    (b"[0", b"[NaN"),
    (b'"a"', b'"a\x01"'),
    (b"{", b" {"),
    (b"{", b"\n{"),
    (b"{", b"\xef\xbb\xbf{"),
]


def tensor(rng: random.Random, start: int) -> tuple[dict, int]:
    """A header's entry and where the next tensor begins; one in three is wrong in some way."""
    shape = rng.choice([[], [0], [4], [8, 1], [2, 4], [0, 2]])
    dtype = rng.choice(list(BITS))
    end = start + prod(shape) * BITS[dtype] // 8
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    wrong = [
        {"shape": [-1]},
        {"shape": [float(size) for size in shape]},
        {"shape": "x"},
        {"shape": [True]},
        {"shape": [1 << 64]},
        {"shape": [1 << 63, 8, 0]},
        {"shape": [1] * 70 + shape},
        {"data_offsets": [start + 8, end + 8]},
        {"data_offsets": [end, start]},
        {"data_offsets": [0, end - start]},
        {"data_offsets": [start, end, 0]},
        {"dtype": None},
        {"more": 1},
    ]
    if rng.random() < 0.3:
        entry |= rng.choice(wrong)
    if rng.random() < 0.05:
        del entry[rng.choice(list(entry))]
    return entry, end


def made(rng: random.Random) -> bytes:
    """A file: holes, overlaps, any order, repeated names, odd spellings, padding, bytes too few or too many."""
    items, end = [], 0
    for _ in range(rng.randrange(4)):
        entry, end = tensor(rng, end)
        text = json.dumps(entry)
        if rng.random() < 0.05:
            text = text.replace("{", '{"dtype":"F32",', 1)
        items.append((rng.choice(["a", "b", "c", "", "é"]), text))
    if rng.random() < 0.2:
        rng.shuffle(items)
    for _ in range(rng.choice([0, 0, 1, 1, 1, 2])):
        items.insert(rng.randrange(len(items) + 1), ("__metadata__", rng.choice(METADATA)))
    raw = ("{" + ",".join(f"{json.dumps(key)}:{text}" for key, text in items) + "}").encode()
    if rng.random() < 0.2:
        raw = raw.replace(*rng.choice(SPELLINGS), 1)
    if rng.random() < 0.2:
        raw += rng.choice([b" " * 7, b"\0\0", b"\n\t ", b"{}"])
    return struct.pack("<Q", len(raw)) + raw + bytes(max(0, end + rng.choice([0] * 12 + [-1, 1, 8])))


def theirs(path: Path) -> object:
    """Names, types, shapes and metadata by the library; None where it refuses the file."""
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            found = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            return found, file.metadata() or {}
    except SafetensorError:
        return None


def ours(path: Path) -> object:
    """The same by the reader, which names types as torch does."""
    checkpoint = open_checkpoint(path)
    if checkpoint.damage:
        return None
    names = {"float32": "F32", "int64": "I64", "float16": "F16", "complex64": "C64", "bfloat16": "BF16", "bool": "BOOL"}
    names |= {"float8_e8m0fnu": "F8_E8M0", "f6_e2m3": "F6_E2M3"}
    found = {t.storage.key: (names[t.dtype], tuple(t.shape)) for t in checkpoint.tensors}
    return found, dict(checkpoint.metadata)


def compare(folder: Path, count: int) -> None:
    """Both readers agree on every generated file, and both outcomes occur."""
    rng = random.Random(20260101)
    accepted = 0
    for _ in range(count):
        path = folder / "file.safetensors"
        path.write_bytes(made(rng))
        expected = theirs(path)
        assert expected == ours(path), path.read_bytes()
        accepted += expected is not None
    assert count // 10 < accepted < count


def test_it_reads_what_the_library_reads(tmp_path):
    compare(tmp_path, 600)


@pytest.mark.long
def test_it_reads_what_the_library_reads_at_length(tmp_path):
    compare(tmp_path, 50_000)


def test_safetensors(tmp_path):
    """Names, types, shapes, metadata and bytes; the reference library wrote the file."""
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    given_ = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
    save_file(given_, path, metadata={"format": "pt"})
    checkpoint = open_checkpoint(path)
    assert ("safetensors", "state-dict", {"format": "pt"}) == (
        checkpoint.container,
        checkpoint.layout,
        checkpoint.metadata,
    )
    for tensor in checkpoint.tensors:
        assert bits(given_[tensor.name]) == read_tensor(checkpoint, tensor)
    path.write_bytes(path.read_bytes()[:-3])
    assert ["truncated-archive"] == [damage.kind for damage in open_checkpoint(path).damage]


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


@pytest.mark.parametrize(("dtype", "shape", "nbytes"), [("F4", [4, 16], 32), ("F6_E2M3", [8], 6), ("F6_E3M2", [8], 6)])
def test_safetensors_of_less_than_a_byte(dtype, shape, nbytes, tmp_path):
    """Elements of 4 and 6 bits are healthy; a type that there is not is refused, as by every reader."""
    for name, expected in ((dtype, []), ("G" + dtype[1:], ["missing-record"])):
        header = json.dumps({"w": {"dtype": name, "shape": shape, "data_offsets": [0, nbytes]}}).encode()
        (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + bytes(nbytes))
        checkpoint = open_checkpoint(tmp_path / "w")
        assert expected == [damage.kind for damage in checkpoint.damage]
        assert ([nbytes] if not expected else []) == [tensor.nbytes for tensor in checkpoint.tensors]
