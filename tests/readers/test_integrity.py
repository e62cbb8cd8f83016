"""One changed bit, one missing byte: found, or proven to be without effect on what torch.load gives."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path

import pytest
import torch

from ckpt_doctor import scan
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.deep import deep_check
from ckpt_doctor.repair.salvage import salvage
from tests.readers.torch_equal import bits, equal, says
from tests.readers.torch_files import LEGACY, load, small, tar_checkpoint


def silent_flips(path: Path, raw: bytes, flips) -> list:
    """The flips that nothing reports although they change what is loaded."""
    path.write_bytes(raw)
    original = load(path)
    missed = []
    for position, bit in flips:
        changed = bytearray(raw)
        changed[position] ^= 1 << bit
        path.write_bytes(changed)
        checkpoint = deep_check(open_checkpoint(path))
        if checkpoint.damage or checkpoint.deep.damage:
            continue
        try:
            harmless = equal(original, load(path))
        except Exception:
            harmless = False
        if not harmless:
            missed.append((position, bit))
    return missed


def test_a_flipped_bit_is_found_or_harmless(tmp_path):
    """Anywhere in an archive: headers, padding, records, descriptors, directory, end records."""
    raw = small(tmp_path / "a")
    rng = random.Random(5)
    directory = raw.index(b"PK\x01\x02")
    places = [rng.randrange(len(raw)) for _ in range(250)] + [rng.randrange(directory, len(raw)) for _ in range(250)]
    assert [] == silent_flips(tmp_path / "b", raw, [(place, rng.randrange(8)) for place in places])


@pytest.mark.long
def test_every_flipped_bit_is_found_or_harmless(tmp_path):
    """All of them, one by one."""
    raw = small(tmp_path / "a")
    assert [] == silent_flips(tmp_path / "b", raw, [(i, bit) for i in range(len(raw)) for bit in range(8)])


def of_every_container(folder: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """A small file of each container, and what loads it."""
    from safetensors.torch import load_file, save_file

    def scripted(path: Path) -> object:
        module = torch.jit.load(path)
        return {**module.state_dict(), "out": module(torch.ones(1, 2))}

    small(folder / "legacy", LEGACY)
    tar_checkpoint(folder / "tar")
    save_file({"w": torch.randn(3, 2), "b": torch.arange(3)}, folder / "a.safetensors", {"format": "pt"})
    torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "script")
    (folder / "bare").write_bytes(pickle.dumps({"w": torch.randn(2), "e": 3, "s": "text"}, 2))
    return {
        "legacy": (folder / "legacy", load),
        "tar": (folder / "tar", load),
        "safetensors": (folder / "a.safetensors", load_file),
        "script": (folder / "script", scripted),
        "bare": (folder / "bare", lambda path: pickle.loads(path.read_bytes())),
    }


CONTAINERS = ["legacy", "tar", "safetensors", "script", "bare"]
UNEXPLAINED = (AttributeError, ModuleNotFoundError)
"""A name that is another one after the flip: which names there are, a reader that imports nothing does not know."""


OF_ITS_NAME = ("restore data location", "'StorageType' object is not callable")
"""The same of devices, which packages bring, and of a class of torch in the place of a function."""


def unnoticed(folder: Path, name: str, flips: Callable[[int], Iterable[tuple[int, int]]]) -> list:
    """The flips of which nothing is said although the file does not load, or gives something else than it says.

    Streams, tar files, bare pickles and safetensors have no checksums. In them a flipped bit of a number or text
    makes a healthy file of another content, so there the file must load as what the reader shows.
    """
    path, loads = of_every_container(folder)[name]
    raw = path.read_bytes()
    original = loads(path)
    missed = []
    before = scan([path], deep=True).findings
    for position, bit in flips(len(raw)):
        changed = bytearray(raw)
        changed[position] ^= 1 << bit
        path.write_bytes(changed)
        (file,) = scan([path], deep=True).files
        if list(file.findings) != before:
            continue
        try:
            loaded = loads(path)
        except UNEXPLAINED:
            continue
        except Exception as error:
            if not any(words in str(error) for words in OF_ITS_NAME):
                missed.append((position, bit, repr(error)[:80]))
            continue
        shown = name in ("legacy", "tar", "bare") and says(file.checkpoint.root, loaded)
        if not (shown or equal(original, loaded) or name == "safetensors"):
            missed.append((position, bit, "another value"))
    return missed


@pytest.mark.parametrize("name", CONTAINERS)
def test_flips_in_every_container_are_noticed(tmp_path, name):
    """Some, all over the file, most of them in its first part."""
    rng = random.Random(name)
    places = lambda size: [(int(size * rng.random() ** 2), rng.randrange(8)) for _ in range(60)]  # noqa: E731
    assert [] == unnoticed(tmp_path, name, places)


@pytest.mark.long
@pytest.mark.parametrize("name", CONTAINERS)
def test_every_flip_in_every_container_is_noticed(tmp_path, name):
    """All of them, one by one; of a tar file, which is mostly padding, in every third byte."""
    assert [] == unnoticed(tmp_path, name, lambda size: product(range(0, size, 1 + size // 4000), range(8)))


def cut_files(folder: Path, step: int):
    """A small file of each container, cut at each length or at every so many."""
    from safetensors.torch import save as save_safetensors

    contents = {
        "zip": small(folder / "a"),
        "legacy": small(folder / "b", LEGACY),
        "tar": tar_checkpoint(folder / "c").read_bytes().rstrip(b"\0"),
        "safetensors": save_safetensors({"w": torch.ones(3, 3), "v": torch.zeros(5)}),
    }
    for name, raw in contents.items():
        for length in range(0, len(raw), step):
            path = folder / "cut"
            path.write_bytes(raw[:length])
            yield name, length, path


def never_ok(folder: Path, step: int) -> None:
    """Every cut file is an error; what salvage makes of one opens, with the very bytes of the original."""
    originals = {}
    for name, length, path in cut_files(folder, step):
        if not originals:
            originals = {"zip": load(folder / "a"), "legacy": load(folder / "b")}
        (file,) = scan([path], deep=True).files
        assert "broken" == file.verdict, (name, length)
        checkpoint = open_checkpoint(path)
        complete = [tensor for tensor in checkpoint.tensors if tensor.storage.offset is not None]
        if name not in originals or not complete:
            continue
        output = folder / "out"
        result = salvage(path, output)
        loaded = torch.load(output, weights_only=True)
        assert [tensor.name for tensor in complete] == list(result.recovered)
        for tensor in complete:
            theirs, ours = originals[name], loaded
            for key in tensor.path:
                theirs, ours = theirs[key], ours[key]
            assert bits(theirs) == bits(ours), (name, length, tensor.name)
        output.unlink()


def test_cut_files_are_never_ok(tmp_path):
    """At lengths all over the file, in every container."""
    never_ok(tmp_path, 61)


@pytest.mark.long
def test_cut_files_are_never_ok_at_any_length(tmp_path):
    """At every single length."""
    never_ok(tmp_path, 1)
