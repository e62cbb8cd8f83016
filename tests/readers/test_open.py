"""What `open_checkpoint` says of a file is what `torch.load` makes of it."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.tensor_bytes import read_scalar, read_tensor
from ckpt_doctor.types import InertDict, NumpyScalar, TensorRef
from tests.readers.strategies import State, tensors, values
from tests.readers.torch_equal import bits, says

ZIP, LEGACY = True, False


def tensors_of(value, found=None):
    """Distinct tensor objects in containers, in the order of a walk."""
    found = {} if found is None else found
    if isinstance(value, torch.Tensor):
        found.setdefault(id(value), value)
    elif isinstance(value, dict):
        for item in value.values():
            tensors_of(item, found)
    elif isinstance(value, (list, tuple)):
        for item in value:
            tensors_of(item, found)
    return list(found.values())


def save(path: Path, value, zipped=ZIP) -> Path:
    """`torch.save`."""
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def load(path):
    """`torch.load` with everything allowed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, weights_only=False)


@settings(max_examples=150)
@given(values, st.booleans())
def test_says_what_torch_loads(tmp_path_factory, value, zipped):
    """Any value, in either format: the inert tree describes each loaded object, and each tensor is listed once."""
    path = tmp_path_factory.mktemp("any") / "file"
    try:
        save(path, value, zipped)
        loaded = load(path)
    except (RuntimeError, KeyError, AttributeError):  # the legacy format cannot hold every type of tensor
        return
    checkpoint = open_checkpoint(path)
    assert ("torch-zip" if zipped else "torch-legacy") == checkpoint.container
    notes = [d for d in checkpoint.damage if d.kind in ("not-weights-only", "unknown-global")]
    own = [d for d in checkpoint.damage if (d.kind, d.where) == ("foreign-call", State.__module__)]
    assert [] == [d for d in checkpoint.damage if d not in notes + own]
    assert says(checkpoint.root, loaded)
    if not any(isinstance(key, tuple) for key in (loaded if isinstance(loaded, dict) else ())):
        assert len(tensors_of(loaded)) == len(checkpoint.tensors)


@settings(max_examples=80)
@given(st.lists(tensors(), max_size=4), st.booleans())
def test_tensor_bytes_are_found(tmp_path_factory, given_tensors, zipped):
    """The bytes of every contiguous tensor can be read from where the checkpoint says they are."""
    path = tmp_path_factory.mktemp("bytes") / "file"
    try:
        save(path, given_tensors, zipped)
    except (RuntimeError, KeyError, AttributeError):
        return
    checkpoint = open_checkpoint(path)
    for index, tensor in enumerate(given_tensors):
        raw = read_tensor(checkpoint, checkpoint.root[index])
        if tensor.is_contiguous() and tensor.numel():
            assert bits(tensor) == raw


def training(device="cpu"):
    """A small training checkpoint."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "global_step": 17,
        "best_score": np.float64(-0.5),
    }


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
def test_facts_of_a_training_checkpoint(tmp_path, zipped):
    """Layout, keys, numbers, tensors with their names, scalars of the optimizer."""
    checkpoint = open_checkpoint(save(tmp_path / "checkpoint", training(), zipped))
    assert "training" == checkpoint.layout
    assert ("model", "optimizer", "epoch", "global_step", "best_score") == checkpoint.keys
    assert -0.5 == checkpoint.get("best_score")
    assert 17 == checkpoint.get("global_step")
    assert isinstance(checkpoint.root["best_score"], NumpyScalar)
    assert isinstance(checkpoint.root["model"], InertDict)
    assert 7 + 12 == len(checkpoint.tensors)
    assert "model.0.weight" == checkpoint.tensors[0].name
    assert (3, 4) == checkpoint.tensors[0].shape
    step = checkpoint.get("optimizer", "state", 0, "step")
    assert isinstance(step, TensorRef)
    assert 1.0 == read_scalar(checkpoint, step)


def test_layouts(tmp_path):
    """A bare state_dict, a training checkpoint, anything else."""
    linear = torch.nn.Linear(2, 2)
    for expected, value in [
        ("state-dict", linear.state_dict()),
        ("state-dict", {**linear.state_dict(), "x._extra_state": {"anything": 1}, "version": 2}),
        ("training", {"state_dict": linear.state_dict(), "epoch": 1}),
        ("training", {"model": {}, "epoch": 1, "global_step": 0}),
        ("other", {"model": linear.state_dict()}),
        ("other", {"epoch": 1}),
        ("other", [torch.zeros(2)]),
        ("other", linear),
        ("other", {}),
    ]:
        path = tmp_path / "file"
        assert expected == open_checkpoint(save(path, value)).layout


def test_dict_subclasses(tmp_path):
    """A dict subclass of some package is looked into as a dict: keys, layout, values."""
    weights = State(w=torch.zeros(2), b=torch.ones(1))
    checkpoint = open_checkpoint(save(tmp_path / "f", State(model=weights, epoch=3, optimizer=State(lr=0.5))))
    assert "training" == checkpoint.layout
    assert ("model", "epoch", "optimizer") == checkpoint.keys
    assert (3, 0.5) == (checkpoint.get("epoch"), checkpoint.get("optimizer", "lr"))
    assert ["model.w", "model.b"] == [tensor.name for tensor in checkpoint.tensors]
    assert "state-dict" == open_checkpoint(save(tmp_path / "g", weights)).layout


def test_shared_storages_and_parameters(tmp_path):
    """Views share a storage; a Parameter is one tensor; the same object at two paths counts once."""
    base = torch.zeros(10)
    parameter = torch.nn.Parameter(torch.zeros(3))
    checkpoint = open_checkpoint(save(tmp_path / "f", {"a": base[:4], "b": base[4:], "p": parameter, "q": parameter}))
    assert ["a", "b", "p"] == [tensor.name for tensor in checkpoint.tensors]
    first, second, _ = checkpoint.tensors
    assert first.storage == second.storage
    assert 4 == second.storage_offset
    assert checkpoint.root["p"] is checkpoint.root["q"]
    assert checkpoint.root["p"].is_parameter


def test_pickled_module(tmp_path):
    """A whole module's tensors are found and named as its parameters are."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.BatchNorm1d(2)))
    checkpoint = open_checkpoint(save(tmp_path / "f", model))
    assert list(model.state_dict()) == [tensor.name for tensor in checkpoint.tensors]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantized_sparse_and_meta(tmp_path):
    """Tensors that are no plain view of a storage are still described."""
    value = {
        "q": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
        "s": torch.eye(3).to_sparse(),
        "m": torch.empty(2, 3, device="meta"),
        "c": torch.eye(3).to_sparse_csr(),
    }
    checkpoint = open_checkpoint(save(tmp_path / "f", value))
    described = {tensor.name: (tensor.dtype, tensor.shape) for tensor in checkpoint.tensors}
    assert {
        "q": ("qint8", (4,)),
        "s": ("float32", (3, 3)),
        "m": ("float32", (2, 3)),
        "c": ("float32", (3, 3)),
    } == described
    assert "meta" == next(t.device for t in checkpoint.tensors if t.name == "m")


@pytest.mark.parametrize("protocol", range(6))
def test_bare_pickles(tmp_path, protocol):
    """`pickle.dump` of a state dict, any protocol: the tensors' storages are streams inside the pickle."""
    path = tmp_path / "model.pkl"
    value = {"model": {"w": torch.arange(6.0).reshape(2, 3)}, "epoch": 3}
    path.write_bytes(pickle.dumps(value, protocol))
    checkpoint = open_checkpoint(path)
    assert "pickle" == checkpoint.container
    assert [("model.w", "float32", (2, 3))] == [(t.name, t.dtype, t.shape) for t in checkpoint.tensors]
    assert 3 == checkpoint.get("epoch")
    if protocol >= 3:  # below, bytes are spelled as text
        assert bits(value["model"]["w"]) == read_tensor(checkpoint, checkpoint.tensors[0])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_legacy_stream_of_any_protocol(tmp_path, protocol):
    """The magic number is recognised however it is pickled."""
    path = tmp_path / "f"
    torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    checkpoint = open_checkpoint(path)
    assert "torch-legacy" == checkpoint.container
    assert bits(torch.ones(3)) == read_tensor(checkpoint, checkpoint.tensors[0])


def tar_checkpoint(
    path: Path, tensors: Sequence[str] = ("weight",), *, location: str = "cpu", **others: object
) -> Path:
    """A file as torch wrote it before 0.1.10, which `torch.load` still reads: one tensor under these keys."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return "9" if value == "the tensor" else None

    pickled = io.BytesIO()
    Pickler(pickled, 2).dump(OrderedDict(**dict.fromkeys(tensors, "the tensor"), **(others or {"epoch": 2})))

    def dump(value):
        return pickle.dumps(value, 2)

    storages = dump(1) + dump((7, location, torch.FloatStorage)) + struct.pack("<q6f", 6, *range(6)) + dump([])
    about = dump(1) + dump((9, 7, "torch.FloatTensor")) + struct.pack("<i4x5q", 2, 2, 3, 3, 1, 0)
    with tarfile.open(path, "w") as archive:
        for name, data in [
            ("sys_info", dump({})),
            ("pickle", pickled.getvalue()),
            ("tensors", about),
            ("storages", storages),
        ]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_tar_from_before_0_1_10(tmp_path):
    """The oldest format: same tensors as `torch.load` finds, bytes included."""
    path = tar_checkpoint(tmp_path / "model.pt")
    checkpoint = open_checkpoint(path)
    loaded = load(path)
    assert "torch-tar" == checkpoint.container
    assert list(loaded) == list(checkpoint.root)
    assert bits(loaded["weight"]) == read_tensor(checkpoint, checkpoint.tensors[0])


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


def test_torchscript(tmp_path):
    """A TorchScript archive is recognised, with its tensors."""
    path = tmp_path / "model.ptl"
    torch.jit.script(torch.nn.Linear(2, 3)).save(path)
    checkpoint = open_checkpoint(path)
    assert "torchscript" == checkpoint.container
    assert {(3, 2), (3,)} == {tensor.shape for tensor in checkpoint.tensors}
    assert [] == [d for d in checkpoint.damage if d.kind != "not-weights-only"]


def test_torch_package(tmp_path):
    """A torch.package archive is named as one."""
    from torch.package import PackageExporter

    path = tmp_path / "package.pt"
    with PackageExporter(path) as exporter:
        exporter.save_pickle("data", "value.pkl", {"x": 1})
    (damage,) = [d for d in open_checkpoint(path).damage if d.kind == "not-a-checkpoint"]
    assert "torch.package" in damage.message


def rezip(source: Path, target: Path, change=lambda name, data: data, compression=zipfile.ZIP_STORED) -> Path:
    """An archive with the same records, some changed; None drops one."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for info in old.infolist():
            data = change(info.filename.split("/", 1)[1], old.read(info))
            if data is not None:
                new.writestr(info.filename, data)
    return target


def test_repacked_and_compressed(tmp_path):
    """An archive that another zip tool packed, deflated: still read, with a word about `mmap=True`."""
    source = save(tmp_path / "a", training())
    packed = open_checkpoint(rezip(source, tmp_path / "b", compression=zipfile.ZIP_DEFLATED))
    assert [(t.name, t.shape) for t in open_checkpoint(source).tensors] == [(t.name, t.shape) for t in packed.tensors]
    assert ["compressed-records", "not-weights-only"] == [damage.kind for damage in packed.damage]


def test_absent_short_and_long_records(tmp_path):
    """A record that is gone or of another size is named with both sizes."""
    source = save(tmp_path / "a", {"x": torch.zeros(3), "y": torch.zeros(4), "z": torch.zeros(5)})
    changes = {"data/0": lambda d: None, "data/1": lambda d: d[:7], "data/2": lambda d: d + b"1"}
    broken = rezip(source, tmp_path / "b", lambda name, data: changes[name](data) if name in changes else data)
    damage = [d for d in open_checkpoint(broken).damage if d.kind == "missing-record"]
    assert [(None, 12), (7, 16), (21, 20)] == [(d.found, d.expected) for d in damage]
    assert ["a/data/0", "a/data/1", "a/data/2"] == [d.where for d in damage]


def test_big_endian(tmp_path):
    """A big-endian file is read in its own order; a wrong `byteorder` record is suspected from the weights."""
    source = save(tmp_path / "a", {"w": torch.randn(64), "step": torch.tensor(12.0)})

    def swapped(name, data):
        if name == "byteorder":
            return b"big"
        return np.frombuffer(data, "<f4").astype(">f4").tobytes() if name.startswith("data/") else data

    honest = open_checkpoint(rezip(source, tmp_path / "b", swapped))
    assert () == honest.damage
    assert 12.0 == read_scalar(honest, honest.tensors[1])
    lying = rezip(source, tmp_path / "c", lambda name, data: b"big" if name == "byteorder" else data)
    assert ["byte-order-suspect"] == [d.kind for d in open_checkpoint(lying).damage]
    silent = rezip(source, tmp_path / "d", lambda name, data: None if name == "byteorder" else swapped(name, data))
    assert ["byte-order-suspect"] == [d.kind for d in open_checkpoint(silent).damage]


def test_migration_records(tmp_path):
    """Records of earlier migrations are read in their order; what is none is passed over."""
    source = save(tmp_path / "a", {"w": torch.zeros(1)})
    target = rezip(source, tmp_path / "b")
    record = '{"when": "%s", "tool_version": "1", "edits": [{"key": "epoch"}], "previous_size": 5}'
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("a/.ckpt_doctor/migration-2.json", record % "second")
        archive.writestr("a/.ckpt_doctor/migration-1.json", record % "first")
        archive.writestr("a/.ckpt_doctor/migration-3.json", "[" * 100_000)
        archive.writestr("a/.ckpt_doctor/migration-4.json", '{"when": 1}')
    assert ["first", "second"] == [migration.when for migration in open_checkpoint(target).migrations]


def test_truncated_everywhere(tmp_path):
    """Cut at any length, an archive gives a finding; once its pickle is whole, also the complete tensors."""
    raw = save(tmp_path / "a", training()).read_bytes()
    whole = open_checkpoint(tmp_path / "a")
    cut = tmp_path / "cut"
    placed = []
    for length in range(4, len(raw) - 1, 23):
        cut.write_bytes(raw[:length])
        checkpoint = open_checkpoint(cut)
        assert "torch-zip" == checkpoint.container
        assert checkpoint.is_damaged("truncated-archive")
        placed.append(sum(tensor.storage.offset is not None for tensor in checkpoint.tensors))
        for ours, theirs in zip(checkpoint.tensors, whole.tensors, strict=False):
            assert ours.storage.offset in (None, theirs.storage.offset)
    assert sorted(placed) == placed
    assert len(whole.tensors) == placed[-1]


NEIGHBOURS = [
    (b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded", "Google Drive"),
    (b"<html><body>Access to model meta-llama is restricted. Hugging Face", "Hugging Face"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "git lfs pull"),
    (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    (b"\x93NUMPY\x01\x00v\x00{'descr': '|O'", "numpy"),
    (b"\x1f\x8b\x08\x00" + bytes(30), "gzip"),
    (b"7z\xbc\xaf\x27\x1c" + bytes(30), "7-Zip"),
    (b"\xfd7zXZ\x00" + bytes(30), "xz"),
    (b"\x28\xb5\x2f\xfd" + bytes(30), "zstd"),
    (b'{"error": "not found"}', "JSON"),
    (b"epoch 1 loss 0.5\n", "text"),
    (b"%PDF-1.7 x", "PDF"),
    (b"\x89PNG\r\n\x1a\n" + bytes(9), "PNG"),
    (b"\x7fELF" + bytes(40), "ELF"),
    (b"\x00\x00\x00\x00\x01\x02" + bytes(40) + bytes.fromhex("57fb808b247547db"), "TensorFlow"),
    (b"GGUF\x03\x00\x00\x00" + bytes(20), "GGUF"),
    (b"\x08\x07\x12\x07pytorch\x1a\x032.0", "ONNX"),
    (b"<?xml version='1.0'?><Error><Code>UserProjectAccessDenied</Code>", "UserProjectAccessDenied"),
    (b'{"error": {"message": "The download quota for this file has been exceeded."}}', "download quota"),
    (b'{"metadata": {}, "weight_map": {"a": "x.safetensors"}}', "index of a sharded checkpoint"),
    (b"PK\x05\x06" + bytes(18), "empty zip"),
    (bytes(range(255, 200, -1)), "recognises"),
]


@pytest.mark.parametrize(("content", "word"), NEIGHBOURS, ids=[word for _, word in NEIGHBOURS])
def test_neighbours_are_named(tmp_path, content, word):
    """Something else under a checkpoint's name is called what it is."""
    path = tmp_path / "checkpoint.pth.tar"
    path.write_bytes(content)
    (damage,) = open_checkpoint(path).damage
    assert "not-a-checkpoint" == damage.kind
    assert word in damage.message


def test_archives_of_other_things_are_named(tmp_path):
    """Of a zip or tar archive that is no checkpoint, what it holds: the checkpoint to unpack, arrays, a package."""
    inner = save(tmp_path / "inner", {"w": torch.ones(2)}).read_bytes()
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("run/checkpoint.pt", inner)
    with tarfile.open(tmp_path / "x.pth.tar", "w") as archive:
        archive.add(tmp_path / "inner", "run/checkpoint.pt")
    np.savez(tmp_path / "arrays", a=np.arange(3))
    for name, word in (("zip", "run/checkpoint.pt"), ("x.pth.tar", "run/checkpoint.pt"), ("arrays.npz", "numpy")):
        (damage,) = open_checkpoint(tmp_path / name).damage
        assert "not-a-checkpoint" == damage.kind
        assert word in damage.message


@pytest.mark.parametrize("content", [b"", bytes(3), bytes(3 << 20)])
def test_empty_files(tmp_path, content):
    """No bytes, or only zeros."""
    path = tmp_path / "checkpoint"
    path.write_bytes(content)
    assert ["empty-file"] == [damage.kind for damage in open_checkpoint(path).damage]


def test_what_the_system_refuses(tmp_path):
    """An absent file, a folder and a FIFO are findings; the FIFO does not hang."""
    assert ["unreadable-file"] == [d.kind for d in open_checkpoint(tmp_path / "absent").damage]
    assert ["not-a-checkpoint"] == [d.kind for d in open_checkpoint(tmp_path).damage]
    os.mkfifo(tmp_path / "pipe")
    assert ["not-a-checkpoint"] == [d.kind for d in open_checkpoint(tmp_path / "pipe").damage]


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
def test_translated_line_endings(tmp_path, zipped):
    """A file that went through a text-mode transfer is named as such, not as a broken archive."""
    raw = save(tmp_path / "a", training(), zipped).read_bytes()
    path = tmp_path / "b"
    path.write_bytes(raw.replace(b"\n", b"\r\n"))
    assert "text-mode-damage" == open_checkpoint(path).damage[0].kind
    path.write_bytes(raw.decode("utf-8", "replace").encode())
    assert "text-mode-damage" == open_checkpoint(path).damage[0].kind


def test_temporary_names(tmp_path):
    """A file under a temporary name is an unfinished write, however whole it is."""
    for name in ("checkpoint.pt.tmp", "model.part", "x.crdownload", "checkpoint~"):
        assert open_checkpoint(save(tmp_path / name, {})).is_damaged("unfinished-write")
    for name in ("checkpoint", "tmp.pt", "part_2.pth"):
        assert () == open_checkpoint(save(tmp_path / name, {})).damage


def test_no_numpy_no_torch(tmp_path):
    """Reading the metadata imports neither torch nor numpy."""
    path = save(tmp_path / "f", training())
    code = (
        "import sys; from ckpt_doctor.readers import open_checkpoint; "
        f"c = open_checkpoint({str(path)!r}); assert c.tensors; print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False False" == done.stdout.strip()


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


def test_archives_without_the_newer_records(tmp_path):
    """What torch 1.6 to 2.0 wrote: no byteorder, format version, alignment or serialization id; any folder name."""
    source = save(tmp_path / "a", training())
    newer = ("byteorder", ".format_version", ".storage_alignment", ".data/serialization_id")
    old = open_checkpoint(rezip(source, tmp_path / "b", lambda name, data: None if name in newer else data))
    assert [t.name for t in open_checkpoint(source).tensors] == [t.name for t in old.tensors]
    assert [] == [d for d in old.damage if d.kind != "not-weights-only"]


def test_types_that_a_legacy_stream_cannot_carry(tmp_path):
    """torch.save writes them all the same, and torch.load raises: a finding, not an "ok"."""
    path = save(tmp_path / "a", {"w": torch.ones(3).to(torch.float8_e5m2)}, LEGACY)
    with pytest.raises(AttributeError):
        load(path)
    assert ["malformed-pickle"] == [damage.kind for damage in open_checkpoint(path).damage]


def test_tensors_of_lazy_modules_and_as_keys(tmp_path):
    """Parameters that wait for their first batch are tensors without bytes; a dict may have tensors for keys."""
    lazy = open_checkpoint(save(tmp_path / "a", torch.nn.LazyLinear(4).state_dict()))
    assert ["weight", "bias"] == [tensor.name for tensor in lazy.tensors]
    assert ("state-dict", 0) == (lazy.layout, sum(tensor.nbytes for tensor in lazy.tensors))
    keyed = open_checkpoint(save(tmp_path / "b", {torch.ones(3): torch.ones(2)}))
    assert [(3,), (2,)] == [tensor.shape for tensor in keyed.tensors]


TEXTS = {
    "CRLF": {"log": "a line\r\n" * 50},
    "LF": {"log": "a line\n" * 500},
    "U+FFFD": {"log": "\ufffd" * 400},
    "bytes without 13": {"w": torch.arange(14, 256, dtype=torch.uint8).repeat(50), "log": "\n\x0b\x0c\x0e" * 40},
}


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
@pytest.mark.parametrize("text", TEXTS)
def test_text_in_a_damaged_file_is_not_damage_done_to_text(tmp_path, text, zipped):
    """Cut, with a record lost or another flaw: what is wrong is said, and salvage is offered."""
    raw = save(tmp_path / "a", {**TEXTS[text], "x": torch.zeros(3)}, zipped).read_bytes()
    (tmp_path / "cut").write_bytes(raw[:-30])
    assert "truncated-archive" == open_checkpoint(tmp_path / "cut").damage[0].kind
    if zipped:
        short = rezip(tmp_path / "a", tmp_path / "b", lambda name, data: data[:-1] if "data/0" in name else data)
        assert "missing-record" == open_checkpoint(short).damage[0].kind


def test_line_endings_of_both_systems_made_one(tmp_path):
    """A text-mode copy that reads every carriage return as a line feed."""
    raw = save(tmp_path / "a", {"w": torch.arange(20_000)}).read_bytes()
    (tmp_path / "b").write_bytes(raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    assert "text-mode-damage" == open_checkpoint(tmp_path / "b").damage[0].kind


def test_an_archive_that_torch_refuses_is_never_ok(tmp_path):
    """Packed without its folder, in one folder too many, behind another record, or without its version."""
    source = save(tmp_path / "a", {"w": torch.ones(3)})
    with zipfile.ZipFile(source) as old:
        records = {name: old.read(name) for name in old.namelist()}
    whole = {f"b{name[1:]}": data for name, data in records.items()}
    broken = {
        "no folder": {name[2:]: data for name, data in records.items()},
        "two folders": {f"top/{name}": data for name, data in records.items()},
        "behind another": {"notes/readme": b"", **records},
        "no version": {name: data for name, data in records.items() if name != "a/version"},
        **{f"version {v!r}": {**records, "a/version": v} for v in (b"", b"x", b"0", b"-1", b"11")},
    }
    for name, content in {"whole": whole, "spaced": {**whole, "b/version": b" 3"}, **broken}.items():
        with zipfile.ZipFile(tmp_path / "b", "w") as new:
            for record, data in content.items():
                new.writestr(record, data)
        loads = name not in broken
        if loads:
            load(tmp_path / "b")
        else:
            with pytest.raises(RuntimeError):
                load(tmp_path / "b")
        assert loads == (not open_checkpoint(tmp_path / "b").damage), name


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_records_in_a_compression_that_torch_does_not_know(tmp_path, method):
    """Other zip programs read them, torch.load raises."""
    path = rezip(save(tmp_path / "a", {"w": torch.ones(300)}), tmp_path / "b", compression=method)
    with pytest.raises(RuntimeError):
        load(path)
    assert open_checkpoint(path).is_damaged("missing-record")
