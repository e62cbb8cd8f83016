"""Files written by many versions of torch: what their writers said is in them is what is read."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch

from ckpt_doctor.inert.pickle_writer import dump
from ckpt_doctor.inert.tree import same
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.deep import deep_check
from ckpt_doctor.readers.programs import Programs, read_program
from ckpt_doctor.repair.salvage import salvage
from ckpt_doctor.types import Checkpoint, TensorInfo
from tests.readers.torch_equal import bits, read_tensor
from tests.readers.torch_versions.make import ARCHIVE_ONLY

FOLDER = Path(__file__).with_name("torch_versions")
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix in (".pt", ".legacy"))


INSIDE = ("scheduler", "anneal_func")
"""Up to torch 2.0 OneCycleLR saved a bound method, and with it itself and the optimizer that it steps."""


def facts(path: Path) -> tuple[list[str], dict]:
    """What the writer said of its live objects: the keys, and each tensor by its name."""
    said = json.loads(path.with_suffix(".json").read_text())
    if path.suffix == ".legacy":
        for kind in ARCHIVE_ONLY:
            said["tensors"].pop(f"kinds.{kind}", None)
    return said["keys"], said["tensors"]


def outside(checkpoint: Checkpoint) -> list[TensorInfo]:
    """The tensors less those of the scheduler's own optimizer."""
    return [tensor for tensor in checkpoint.tensors if tensor.path[:2] != INSIDE]


def numbers(dtype: str, raw: bytes) -> list[float]:
    """Raw elements as the numbers that the facts hold."""
    values = torch.frombuffer(bytearray(raw), dtype=getattr(torch, dtype)) if raw else torch.empty(0)
    return (torch.view_as_real(values).reshape(-1) if values.is_complex() else values.double()).tolist()


def test_as_many_versions_as_there_are():
    """Streams from before the archive format, one of Python 2, and archives of 1.6 to today's."""
    versions = {path.name.split("-")[1] for path in FILES}
    assert {"1.0.0", "1.4.0", "1.6.0", "1.13.1", "2.0.1", "2.6.0", "2.9.1", "2.13.0", "2.14.1", "2.15.0"} <= versions
    assert any("py2.7" in path.name for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_tensors_are_what_the_writer_had(path):
    """Every tensor object once, with its type, shape, strides and numbers."""
    checkpoint = open_checkpoint(path)
    keys, expected = facts(path)
    assert keys == list(checkpoint.keys)
    assert "training" == checkpoint.layout
    assert ("torch-zip" if path.suffix == ".pt" else "torch-legacy") == checkpoint.container
    assert sorted(expected) == sorted(tensor.name for tensor in outside(checkpoint))
    for tensor in outside(checkpoint):
        about = expected[tensor.name]
        assert (about["dtype"], about["shape"]) == (tensor.dtype, list(tensor.shape))
        assert about["offset"] == tensor.storage_offset
        assert about["stride"] == list(tensor.stride)
        assert about["parameter"] == (tensor.path[0] == "network" or tensor.name == "kinds.parameter")
        raw = read_tensor(checkpoint, tensor)
        assert raw is not None or "kinds.turned" == tensor.name
        if raw is not None:
            assert about["numbers"] == numbers(tensor.dtype, raw)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_todays_torch_agrees(path):
    """What torch.load of today makes of the file has the same tensors, numbers and keys."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.load(path, weights_only=False, encoding="latin1")
    checkpoint = open_checkpoint(path)
    assert list(loaded) == list(checkpoint.keys)
    assert (1, 2, -0.25) == tuple(map(checkpoint.get, ("epoch", "global_step", "best_score")))
    for tensor in outside(checkpoint):
        theirs = loaded
        for key in tensor.path:
            theirs = getattr(theirs, key) if isinstance(theirs, torch.nn.Module) else theirs[key]
        assert (f"torch.{tensor.dtype}", tensor.shape, tensor.stride) == (
            str(theirs.dtype),
            tuple(theirs.shape),
            theirs.stride(),
        )
        raw = read_tensor(checkpoint, tensor)
        assert raw is None or bits(theirs) == raw


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_healthy_files_are_healthy(path):
    """Nothing dangerous, nothing damaged, not even in the deep check; the program is written again with no other name.

    Up to torch 2.0 `anneal_func` is a `getattr` whose owner has that very value: it names something, also when written.
    """
    checkpoint = deep_check(open_checkpoint(path))
    assert ["not-weights-only"] == [damage.kind for damage in checkpoint.damage]
    assert ((), {}) == (checkpoint.deep.damage, checkpoint.deep.non_finite)
    programs = Programs()
    again = read_program(programs, dump(checkpoint.root), 0, None, "")
    assert same(checkpoint.root, again.root) is None
    assert {str(name) for name in programs.globals.values()} <= {str(name) for name in checkpoint.globals}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_salvage_of_every_version(path, tmp_path):
    """A file cut right behind its last tensor gives all of them back."""
    raw = path.read_bytes()
    whole = open_checkpoint(path)
    end = max(t.storage.offset + t.storage.nbytes for t in whole.tensors if t.storage.offset is not None)
    (tmp_path / "cut").write_bytes(raw[:end])
    result = salvage(tmp_path / "cut", tmp_path / "out")
    assert () == result.lost
    again = torch.load(tmp_path / "out", weights_only=True)
    for name, weight in again["model"].items():
        tensor = next(tensor for tensor in whole.tensors if ("model", name) == tensor.path)
        assert bits(weight) == read_tensor(whole, tensor)
