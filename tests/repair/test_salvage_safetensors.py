"""Salvage of a safetensors file gives a safetensors file: its whole tensors bit for bit, and never a wrong one."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.repair import salvage as module
from ckpt_doctor.repair.salvage import salvage
from tests.readers.torch_equal import bits
from tests.readers.torch_files import save, training

TENSORS = {
    "b": torch.randn(5).bfloat16(),
    "empty": torch.ones(0, 3),
    "flags": torch.tensor([True, False, True]),
    "große.Gewichte": torch.randn(4, 4),
    "ids": torch.arange(7),
    "narrow": torch.randn(3).to(torch.float8_e4m3fn),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "z": torch.randn(2, 3, dtype=torch.complex64),
}


def shard(path: Path, tensors=TENSORS, metadata=None) -> bytes:
    save_file(tensors, path, {"format": "pt"} if metadata is None else metadata)
    return path.read_bytes()


def changed(raw: bytes, change) -> bytes:
    """The file with another header, whose length fits."""
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + raw[8 + size :]


def test_cut_anywhere(tmp_path):
    """What is whole comes back with its type, its shape and its bits; what is not is named; the input stays."""
    raw = shard(tmp_path / "whole.safetensors")
    cut = tmp_path / "cut.safetensors"
    counts = []
    for length in range(0, len(raw), 5):
        cut.write_bytes(raw[:length])
        output = tmp_path / f"{length}.safetensors"
        places = {t.name: t.storage for t in open_checkpoint(cut).tensors}
        whole = {n for n, place in places.items() if not place.nbytes or place.offset + place.nbytes <= length}
        if not whole:
            with pytest.raises(WriteRefused, match="nothing can be recovered"):
                salvage(cut, output)
            assert not output.exists()
            continue
        result = salvage(cut, output)
        loaded = load_file(output)
        assert whole == set(loaded) == set(result.recovered)
        assert set(TENSORS) - whole == set(result.lost)
        assert all(bits(TENSORS[name]) == bits(loaded[name]) for name in whole)
        assert raw[:length] == cut.read_bytes()
        counts.append(len(whole))
    assert counts == sorted(counts)
    assert len(TENSORS) - 1 == counts[-1]


def test_what_describes_the_file_stays(tmp_path):
    raw = shard(tmp_path / "a.safetensors", metadata={"format": "pt", "step": "200"})
    (tmp_path / "cut.safetensors").write_bytes(raw[:-1])
    salvage(tmp_path / "cut.safetensors", tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert {"format": "pt", "step": "200"} == file.metadata()
    assert [] == [d for d in open_checkpoint(tmp_path / "out.safetensors").damage if d.kind != "not-weights-only"]


def test_bytes_behind_the_end_are_left_out(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(shard(tmp_path / "whole.safetensors") + b"\0" * 9)
    result = salvage(tmp_path / "a.safetensors", tmp_path / "out.safetensors")
    assert (set(TENSORS), ()) == (set(load_file(result.output)), result.lost)


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (lambda header: header["b"].update(shape=[6]), {"b"}),
        (lambda header: header["b"].update(dtype="X9"), {"b"}),
        (lambda header: header["b"]["data_offsets"].reverse(), {"b"}),
        (lambda header: header.update(b=7), {"b"}),
        # Both claim the same bytes: which of the two is right is open
        (lambda header: header["b"].update(header["flags"], shape=[3]), {"b", "flags"}),
    ],
)
def test_a_tensor_whose_entry_is_damaged_is_lost_by_name(tmp_path, change, lost):
    (tmp_path / "a.safetensors").write_bytes(changed(shard(tmp_path / "whole.safetensors"), change))
    result = salvage(tmp_path / "a.safetensors", tmp_path / "out.safetensors")
    assert (lost, "parts") == (set(result.lost), result.good_for)
    assert set(TENSORS) - lost == set(load_file(result.output))


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_gives_the_true_tensors_or_a_reason(tmp_path_factory, at, bit):
    """In the header: refused, or what is recovered has the bytes that the header gives it, and is readable."""
    folder = tmp_path_factory.mktemp("flip")
    raw = bytearray(shard(folder / "whole.safetensors"))
    raw[at % (8 + int.from_bytes(raw[:8], "little"))] ^= 1 << bit
    (folder / "a.safetensors").write_bytes(raw)
    try:
        result = salvage(folder / "a.safetensors", folder / "out.safetensors")
    except WriteRefused:
        assert {"whole.safetensors", "a.safetensors"} == set(os.listdir(folder))
        return
    described = {tensor.name: tensor for tensor in open_checkpoint(folder / "a.safetensors").tensors}
    written = {tensor.name: tensor for tensor in open_checkpoint(result.output).tensors}
    assert set(result.recovered) == set(written)
    output = result.output.read_bytes()
    for name, tensor in written.items():
        source, target = described[name].storage, tensor.storage
        assert raw[source.offset :][: source.nbytes] == output[target.offset :][: target.nbytes]
        assert (described[name].dtype, described[name].shape) == (tensor.dtype, tensor.shape)


def test_the_suffix_promises_what_is_written(tmp_path):
    """Loaders choose by it. No file is left where it does not fit."""
    (tmp_path / "a.safetensors").write_bytes(shard(tmp_path / "whole.safetensors")[:-1])
    (tmp_path / "b.pt").write_bytes(save(tmp_path / "whole.pt", training()).read_bytes()[:-5])
    for source, name, why in (
        ("a.safetensors", "out.pt", "suffix .safetensors"),
        ("a.safetensors", "out", "suffix .safetensors"),
        ("b.pt", "out.safetensors", "suffix .pt"),
    ):
        with pytest.raises(WriteRefused, match=why):
            salvage(tmp_path / source, tmp_path / name)
        assert not (tmp_path / name).exists()
    assert b"PK" == salvage(tmp_path / "b.pt", tmp_path / "out.bin").output.read_bytes()[:2]


def test_a_name_without_the_suffix_is_known_by_its_content(tmp_path):
    (tmp_path / "model.bin").write_bytes(shard(tmp_path / "whole.safetensors")[:-1])
    assert salvage(tmp_path / "model.bin", tmp_path / "out.safetensors").lost


def test_a_full_disk_leaves_nothing_and_is_told_with_the_file(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").write_bytes(shard(tmp_path / "whole.safetensors")[:-1])
    (tmp_path / "b.pt").write_bytes(save(tmp_path / "whole.pt", training()).read_bytes()[:-5])
    before = set(os.listdir(tmp_path))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("write_safetensors", "write_archive"):
        monkeypatch.setattr(module, name, full)
    for source, output in (("a.safetensors", "out.safetensors"), ("b.pt", "out.pt")):
        with pytest.raises(OSError, match=r"No space left on device: .*out\."):
            salvage(tmp_path / source, tmp_path / output)
    assert before == set(os.listdir(tmp_path))


def test_a_source_that_shrinks_meanwhile_gives_no_file(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").write_bytes(shard(tmp_path / "whole.safetensors"))
    check = module.deep_check

    def shrinking(checkpoint):
        result = check(checkpoint)
        read = module.FileView.read_at
        monkeypatch.setattr(module.FileView, "read_at", lambda *arguments: read(*arguments)[:-1])
        return result

    monkeypatch.setattr(module, "deep_check", shrinking)
    with pytest.raises(WriteRefused, match="became shorter"):
        salvage(tmp_path / "a.safetensors", tmp_path / "out.safetensors")
    assert {"a.safetensors", "whole.safetensors"} == set(os.listdir(tmp_path))


def test_a_torch_file_whose_description_is_corrupt_is_refused(tmp_path):
    """The bytes are there, but nobody knows whose they are."""
    raw = save(tmp_path / "a", training()).read_bytes()
    (tmp_path / "a").write_bytes(raw.replace(b"running_mean", b"running_meaN", 1))
    with pytest.raises(WriteRefused, match="description"):
        salvage(tmp_path / "a", tmp_path / "out")
