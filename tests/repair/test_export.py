"""Export writes the file that the safetensors package would write of the same weights, or nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, load_model, save_file
from torch import nn

from ckpt_doctor.errors import UsageError, WriteRefused
from ckpt_doctor.repair.export import export
from tests.readers.set_files import INDEX, WEIGHTS, write_sharded
from tests.readers.torch_equal import bits
from tests.readers.torch_files import rezip, save, training

TYPES = (
    "bool uint8 int8 float8_e5m2 float8_e4m3fn float8_e8m0fnu float8_e4m3fnuz float8_e5m2fnuz int16 uint16 float16 "
    "bfloat16 int32 uint32 float32 complex64 float64 int64 uint64"
)


def every_type() -> dict[str, torch.Tensor]:
    numbers = torch.randn(3, 5, generator=torch.manual_seed(0)).abs()
    found = {f"{name}.{i}": numbers.to(getattr(torch, name), copy=True) for name in TYPES.split() for i in (1, 0)}
    pairs = torch.arange(6, dtype=torch.uint8).view(3, 2).view(torch.float4_e2m1fn_x2)
    return {**found, "pairs": pairs, "scalar": torch.tensor(2.5), "none": torch.ones(0, 3), "größe": torch.ones(2)}


def written(path: Path, output: Path, **options) -> bytes:
    export(path, output, **options)
    return output.read_bytes()


@pytest.mark.parametrize("zipped", [True, False])
def test_the_package_would_write_the_same_bytes(tmp_path, zipped) -> None:
    """Of every type, in the package's order."""
    tensors = every_type()
    save_file(tensors, tmp_path / "theirs.safetensors", {"format": "pt"})
    theirs = (tmp_path / "theirs.safetensors").read_bytes()
    if not zipped:  # `torch.save` of the old format has no storage class for the newer types
        tensors = {"a": torch.randn(7), "b": torch.arange(3)}
        save_file(tensors, tmp_path / "theirs.safetensors", {"format": "pt"})
        theirs = (tmp_path / "theirs.safetensors").read_bytes()
    assert theirs == written(save(tmp_path / "a.pt", tensors, zipped), tmp_path / "ours.safetensors")
    assert theirs == written(tmp_path / "ours.safetensors", tmp_path / "again.safetensors")


def test_the_weights_of_a_training_checkpoint_alone(tmp_path) -> None:
    """The model without the optimizer, under the names of its state_dict."""
    state = training()
    state["model"]["_extra_state"] = {"amax": 3}
    result = export(save(tmp_path / "a", state), tmp_path / "w.safetensors")
    loaded = load_file(tmp_path / "w.safetensors")
    expected = {name: value for name, value in state["model"].items() if isinstance(value, torch.Tensor)}
    assert {name: bits(value) for name, value in expected.items()} == {name: bits(v) for name, v in loaded.items()}
    assert ("_extra_state",) == result.left_out


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


@pytest.mark.parametrize("keep", [True, False])
def test_what_two_names_share_is_written_once(tmp_path, keep) -> None:
    """Whether the two are one object in the file or two; and the package's `load_model` takes the result."""
    model, empty = Tied(), Tied()
    result = export(
        save(tmp_path / "a", {"model": model.state_dict(keep_vars=keep), "epoch": 1, "step": 2}),
        tmp_path / "w.safetensors",
    )
    assert {"head.weight": "embed.weight"} == result.shared
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert "embed.weight" == file.metadata()["head.weight"]
    assert (set(), []) == tuple(load_model(empty, tmp_path / "w.safetensors"))
    assert bits(model.head.weight) == bits(empty.head.weight)


def test_views_are_written_out_each_on_its_own(tmp_path) -> None:
    """A part of a storage, a transposition, a slice with gaps, a repetition: never the whole storage."""
    base = torch.randn(40, 50, generator=torch.manual_seed(1))
    tensors = {"turned": base.t(), "rows": base[3:17], "columns": base[:, 5:9], "repeated": base[0, :1].expand(3, 4)}
    result = export(save(tmp_path / "a", tensors), tmp_path / "w.safetensors")
    loaded = load_file(tmp_path / "w.safetensors")
    assert {name: bits(value.contiguous()) for name, value in tensors.items()} == {
        n: bits(v) for n, v in loaded.items()
    }
    assert {} == result.shared


@pytest.mark.parametrize("chunk", [48, 1 << 16])
def test_packed_and_big_endian_files(tmp_path, monkeypatch, chunk) -> None:
    tensors = {"w": torch.randn(333, generator=torch.manual_seed(2)), "half": torch.randn(70, 3).half().t()}
    path = save(tmp_path / "a", tensors)
    plain = written(path, tmp_path / "plain.safetensors")
    monkeypatch.setattr("ckpt_doctor.readers.regions.CHUNK", chunk)
    monkeypatch.setattr("ckpt_doctor.readers.storage_bytes.CHUNK", chunk)

    def swapped(name, data):
        if name == "byteorder":
            return b"big"
        size = {"data/0": 4, "data/1": 2}.get(name, 1)
        return b"".join(data[i : i + size][::-1] for i in range(0, len(data), size))

    assert plain == written(rezip(path, tmp_path / "b", compression=8), tmp_path / "packed.safetensors")
    assert plain == written(rezip(path, tmp_path / "c", change=swapped), tmp_path / "big.safetensors")


@pytest.mark.parametrize("name", ["model-{i:05d}-of-{n:05d}.safetensors", "pytorch_model-{i:05d}-of-{n:05d}.bin"])
def test_a_sharded_model_becomes_one_file(tmp_path, name) -> None:
    """By its folder and by its index."""
    index = INDEX if name.endswith("safetensors") else "pytorch_model.bin.index.json"
    write_sharded(tmp_path / "set", name=name, index=index)
    for number, path in enumerate((tmp_path / "set", tmp_path / "set" / index)):
        export(path, tmp_path / f"{number}.safetensors")
        loaded = load_file(tmp_path / f"{number}.safetensors")
        assert {key: bits(value) for key, value in WEIGHTS.items()} == {key: bits(v) for key, v in loaded.items()}


def test_a_model_of_which_a_shard_is_not_there_is_refused(tmp_path) -> None:
    write_sharded(tmp_path / "set")
    next(path for path in (tmp_path / "set").iterdir() if "-00002-of-" in path.name).unlink()
    with pytest.raises(WriteRefused, match=r"not whole.*00002-of"):
        export(tmp_path / "set", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_the_model_of_a_checkpoint_folder(tmp_path) -> None:
    """Beside its optimizer and its random state."""
    folder = tmp_path / "checkpoint-10"
    folder.mkdir()
    model = nn.Linear(2, 2)
    save_file(model.state_dict(), folder / "model.safetensors")
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    torch.save({"cpu": torch.get_rng_state()}, folder / "rng_state.pth")
    (folder / "trainer_state.json").write_text('{"global_step": 10}')
    assert {"weight", "bias"} == set(export(folder, tmp_path / "w.safetensors").written)
    part = export(folder, tmp_path / "o.safetensors", key="optimizer.pt.state.0")
    assert {"step", "exp_avg", "exp_avg_sq"} == set(part.written)


def test_a_pickled_module(tmp_path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    assert set(model.state_dict()) == set(export(save(tmp_path / "a", model), tmp_path / "w.safetensors").written)


def test_a_key_names_any_part(tmp_path) -> None:
    """Its steps may have dots themselves; a single tensor keeps its name."""
    state = {"nets": {"a.b": {"w": torch.ones(1)}}, "ema": {"w": torch.zeros(1)}, "lone": torch.ones(2)}
    path = save(tmp_path / "a", state)
    for key, names in (
        ("nets.a.b", ("w",)),
        ("nets", ("a.b.w",)),
        ("ema", ("w",)),
        ("lone", ("lone",)),
        ("nets.a.b.w", ("w",)),
    ):
        assert names == export(path, tmp_path / f"{key}.safetensors", key=key).written


MODELS = {"generator": {"w": torch.ones(1)}, "critic": {"w": torch.zeros(1)}, "epoch": 1, "step": 2}


@pytest.mark.parametrize(
    ("state", "key", "sentence"),
    [
        (MODELS, "", r"holds 2 models \(generator, critic\); choose one with --key"),
        (MODELS, "discriminator", "has no part 'discriminator'"),
        (MODELS, "epoch", "holds no tensors"),
        ({"epoch": 1}, "", "holds no weights of a model"),
        ({"module": {"w": torch.ones(0)}, "epoch": 1, "step": 1}, "", "its tensors have no elements"),
        ({"a": {"b.c": torch.ones(1)}, "a.b": {"c": torch.ones(1)}}, "", "choose one"),
    ],
)
def test_what_is_meant_must_be_clear(tmp_path, state, key, sentence) -> None:
    with pytest.raises(UsageError, match=sentence):
        export(save(tmp_path / "a", state), tmp_path / "w.safetensors", key=key)
    assert not (tmp_path / "w.safetensors").exists()


@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        (torch.eye(3).to_sparse(), "no place for it"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "no place for it"),
        (torch.ones(2, dtype=torch.complex128), r"no place for it \(complex128\)"),
        (torch.ones(2, dtype=torch.complex64).conj(), "conj view"),
        (torch.ones(1).expand(10**9), "views that take"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_whole(tmp_path, tensor, sentence) -> None:
    """Weights without one of their tensors are of no use under this name."""
    path = save(tmp_path / "a", {"good": torch.ones(2), "bad": tensor})
    with pytest.raises(WriteRefused, match=sentence):
        export(path, tmp_path / "w.safetensors")
    assert ["a"] == os.listdir(tmp_path)


def test_damaged_weights_are_refused(tmp_path) -> None:
    """Cut off, or with a flipped bit that `torch.load` does not see."""
    path = save(tmp_path / "a", {"w": torch.ones(3000)})
    raw = path.read_bytes()
    at = raw.index(torch.ones(9).numpy().tobytes()) + 800
    path.write_bytes(raw[:at] + b"\x41" + raw[at + 1 :])
    with pytest.raises(WriteRefused, match=r"do not match the stored checksum"):
        export(path, tmp_path / "w.safetensors")
    path.write_bytes(raw[:at])
    with pytest.raises(WriteRefused, match="salvage"):
        export(path, tmp_path / "w.safetensors")
    assert ["a"] == os.listdir(tmp_path)


def test_nothing_is_written_over(tmp_path) -> None:
    path = save(tmp_path / "a", {"w": torch.ones(1)})
    (tmp_path / "w.safetensors").write_text("mine")
    with pytest.raises(WriteRefused, match="exists already"):
        export(path, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="give the file the suffix"):
        export(path, tmp_path / "w.pt")
    assert "mine" == (tmp_path / "w.safetensors").read_text()


def test_a_distributed_checkpoint_is_said_to_lie_in_pieces(tmp_path) -> None:
    torch.distributed.checkpoint.save({"w": torch.ones(4)}, checkpoint_id=tmp_path / "dcp", no_dist=True)
    with pytest.raises(UsageError, match="distributed checkpoint"):
        export(tmp_path / "dcp", tmp_path / "w.safetensors")


def test_what_many_keys_share_is_walked_once(tmp_path) -> None:
    """Linear in the size of the file: these are 2,000 keys of one dict with 2,000 tensors."""
    inner = {f"w{n}": torch.zeros(1) for n in range(2000)}
    path = save(tmp_path / "a", {"nets": {f"n{n}": inner for n in range(2000)}})
    began = time.process_time()
    assert len(inner) == len(export(path, tmp_path / "w.safetensors", key="nets").written)
    assert time.process_time() - began < 5
