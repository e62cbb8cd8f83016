"""Hostile files: nothing runs, nothing hangs, nothing escapes notice."""

from __future__ import annotations

import io
import pickle
import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ckpt_doctor import scan
from ckpt_doctor.audit.compare import compare
from ckpt_doctor.reports.inspect import inspected
from tests.readers.attacks import CALLS, Payload
from tests.readers.torch_files import save, tar_checkpoint, training


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
    survive(tmp_path, canary, 250)


@pytest.mark.long
def test_many_mutated_files(tmp_path, canary):
    """Twenty thousand of them."""
    survive(tmp_path, canary, 20_000)
