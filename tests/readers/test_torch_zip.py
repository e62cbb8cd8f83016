"""Archives of torch, TorchScript and torch.package: what they are, and what torch would refuse about them."""

from __future__ import annotations

import struct
import warnings
import zipfile

import pytest
import torch

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.deep import deep_check
from ckpt_doctor.validators.files import all_damage
from tests.readers.attacks import CALL, dangerous
from tests.readers.strategies import State
from tests.readers.torch_files import load, rezip, save, training


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


def test_archives_without_the_newer_records(tmp_path):
    """What torch 1.6 to 2.0 wrote: no byteorder, format version, alignment or serialization id; any folder name."""
    source = save(tmp_path / "a", training())
    newer = ("byteorder", ".format_version", ".storage_alignment", ".data/serialization_id")
    old = open_checkpoint(rezip(source, tmp_path / "b", lambda name, data: None if name in newer else data))
    assert [t.name for t in open_checkpoint(source).tensors] == [t.name for t in old.tensors]
    assert [] == [d for d in old.damage if d.kind != "not-weights-only"]


def test_an_archive_that_torch_refuses_is_never_ok(tmp_path):
    """Packed without its folder, in one folder too many, behind another record, or with a note that it cannot read."""
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
        **{f"alignment {v!r}": {**records, "a/.storage_alignment": v} for v in (b"", b"6\x14", b"0x40")},
    }
    spaced = {**whole, "b/version": b" 3", "b/.storage_alignment": b" +6_4\n"}
    for name, content in {"whole": whole, "spaced": spaced, **broken}.items():
        with zipfile.ZipFile(tmp_path / "b", "w") as new:
            for record, data in content.items():
                new.writestr(record, data)
        loads = name not in broken
        if loads:
            load(tmp_path / "b")
        else:
            with pytest.raises((RuntimeError, ValueError)):
                load(tmp_path / "b")
        assert loads == (not open_checkpoint(tmp_path / "b").damage), name


def test_torch_package_and_torchscript(tmp_path, canary):
    """Pickles of a torch.package, and those beside a TorchScript archive's own."""
    from torch.package import PackageExporter

    with PackageExporter(tmp_path / "package") as exporter:
        exporter.save_binary("data", "value.pkl", CALL)
    assert ["posix.system"] == dangerous(tmp_path / "package")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script")
    for target in ("constants.pkl", "data.pkl"):
        evil = rezip(tmp_path / "script", tmp_path / "evil", lambda n, data, t=target: CALL if n == t else data)
        assert "torchscript" == open_checkpoint(evil).container
        assert "posix.system" in dangerous(evil)


def test_a_package_is_called_one(tmp_path, monkeypatch):
    """With TorchScript in it, several pickles, any resource names, modules interned: no name is held against it."""
    from torch.package import PackageExporter, PackageImporter, package_exporter

    monkeypatch.setattr(package_exporter, "_gate_torchscript_serialization", False)
    module = torch.jit.script(torch.nn.Linear(2, 3))
    path = tmp_path / "package.pt"
    with warnings.catch_warnings(), PackageExporter(path) as exporter:
        warnings.simplefilter("ignore")
        exporter.intern("tests.readers.strategies")
        exporter.extern("**")
        exporter.save_pickle("model", "data.pkl", {"w": torch.ones(5)})
        exporter.save_pickle("script", "model.pkl", module)
        exporter.save_pickle("interned", "state", State(a=1))
        exporter.save_text("notes", "readme", "cat\ncar\n")
        exporter.save_binary("notes", "raw", b"123")
    assert State is not type(PackageImporter(path).load_pickle("interned", "state"))
    checkpoint = open_checkpoint(path)
    assert ["not-a-checkpoint"] == [damage.kind for damage in checkpoint.damage]
    assert "torch.package" in checkpoint.damage[0].message


@pytest.mark.parametrize("deep", [False, True])
def test_a_number_that_changed_in_the_description(tmp_path, deep):
    """The pickle is read whole anyway, so its checksum is compared, and the deep check does not say it again."""
    path = save(tmp_path / "a", {"lr": 0.1, "w": torch.zeros(3)})
    raw = bytearray(path.read_bytes())
    raw[raw.index(struct.pack(">d", 0.1)) + 1] ^= 1
    path.write_bytes(raw)
    assert 0.1 != load(path)["lr"]
    checkpoint = open_checkpoint(path)
    found = all_damage(deep_check(checkpoint) if deep else checkpoint)
    assert [("corrupt-record", "a/data.pkl")] == [(damage.kind, damage.where) for damage in found]
