"""One changed bit, one missing byte: found, or proven to be without effect on what torch.load gives."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import pytest
import torch

from ckpt_doctor import scan
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.deep import deep_check
from ckpt_doctor.repair.salvage import salvage
from tests.readers.test_open import LEGACY, ZIP, load, save, tar_checkpoint, training
from tests.readers.torch_equal import bits, equal


def small(path: Path, zipped=ZIP) -> bytes:
    """A file of a few kilobytes with a training state, a view and a Parameter."""
    base = torch.arange(5.0)
    value = {
        "model": {"w": torch.randn(4, 3), "b": torch.nn.Parameter(base[:2])},
        "optimizer": {"m": base[2:]},
        "epoch": 3,
        "plain": [1.5, "text", (True, None)],
    }
    return save(path, value, zipped).read_bytes()


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


def test_an_archive_without_its_end_record(tmp_path):
    """A bit in the end record makes torch.load refuse the whole archive; salvage gives every tensor back."""
    raw = bytearray(small(tmp_path / "a"))
    original = load(tmp_path / "a")
    raw[raw.rindex(b"PK\x06\x06") + 16] ^= 1
    (tmp_path / "b").write_bytes(raw)
    with pytest.raises(RuntimeError):
        load(tmp_path / "b")
    assert open_checkpoint(tmp_path / "b").is_damaged("truncated-archive")
    assert () == salvage(tmp_path / "b", tmp_path / "out").lost
    assert equal(original["model"]["w"], torch.load(tmp_path / "out", weights_only=True)["model"]["w"])


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


@pytest.mark.parametrize(("dtype", "shape", "nbytes"), [("F4", [4, 16], 32), ("F6_E2M3", [8], 6), ("F6_E3M2", [8], 6)])
def test_safetensors_of_less_than_a_byte(dtype, shape, nbytes, tmp_path):
    """Elements of 4 and 6 bits are healthy; a type that there is not is refused, as by every reader."""
    for name, expected in ((dtype, []), ("G" + dtype[1:], ["missing-record"])):
        header = json.dumps({"w": {"dtype": name, "shape": shape, "data_offsets": [0, nbytes]}}).encode()
        (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + bytes(nbytes))
        checkpoint = open_checkpoint(tmp_path / "w")
        assert expected == [damage.kind for damage in checkpoint.damage]
        assert ([nbytes] if not expected else []) == [tensor.nbytes for tensor in checkpoint.tensors]


def test_packed_quantized_elements(tmp_path):
    """Two to a byte, while the shape counts each."""
    value = torch.quantize_per_channel(torch.randn(4, 8), torch.rand(4) + 0.1, torch.zeros(4), 0, torch.quint4x2)
    checkpoint = open_checkpoint(save(tmp_path / "a", {"w": value}))
    assert () == checkpoint.damage
    assert 16 == next(tensor.nbytes for tensor in checkpoint.tensors)


def test_folder_entries_are_no_records(tmp_path):
    """`zip -r` writes one for every folder."""
    source = save(tmp_path / "a", training())
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "b", "w") as new:
        for folder in ("a/", "a/data/"):
            new.writestr(folder, "")
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert not [d for d in open_checkpoint(tmp_path / "b").damage if d.kind != "not-weights-only"]


@pytest.mark.parametrize(("method", "first"), [(zipfile.ZIP_DEFLATED, "data.pkl"), (zipfile.ZIP_STORED, "data/0")])
def test_a_cut_archive_that_a_zip_program_packed_is_not_given_up(method, first, tmp_path):
    """Its records are all there, only not where torch puts them: another program may mend it, and is named."""
    source = save(tmp_path / "a", training())
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "b", "w", method) as new:
        for name in sorted(old.namelist(), key=lambda name: not name.endswith(first)):
            new.writestr(name, old.read(name))
    (tmp_path / "b").write_bytes((tmp_path / "b").read_bytes()[:-60])
    (damage,) = (d for d in open_checkpoint(tmp_path / "b").damage if d.kind == "truncated-archive")
    assert "zip -FF" in damage.message
    assert "nothing can be recovered" not in damage.message
