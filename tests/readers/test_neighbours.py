"""Files that are no checkpoints are called what they are, and what they would run is told all the same."""

from __future__ import annotations

import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from ckpt_doctor.readers import open_checkpoint
from tests.readers.attacks import CALL, Payload, dangerous
from tests.readers.torch_files import save

NEIGHBOURS = [
    (b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded", "Google Drive"),
    (b"<html><body>Access to model meta-llama is restricted. Hugging Face", "Hugging Face"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "git lfs pull"),
    (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    (b"\x82\xa7version\x03\xa9optimizer\x81" + bytes(100), "msgpack"),
    (b"\xde\x00\x12\xa6params\x81" + bytes(100), "msgpack"),
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
    (b"\xff\xfeP\0K\0\x03\0\x04\0", "PowerShell"),
    (b"/annex/objects/MD5E-s1048576--0123.pt\n", "git annex get"),
    (b"HTTP/1.1 200 OK\r\n\r\nPK\x03\x04" + bytes(26) + b"a/data.pkl}.", "tail -c +20 "),
    (b"[InternetShortcut]\nURL=https://example.org/a.pt\n", "text, beginning"),
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


def test_arrays_of_objects(tmp_path, canary):
    """A .npy of dtype object is a pickle; so is one in a .npz, compressed or not. Numbers are not."""
    evil = np.array([Payload(canary)], dtype=object)
    np.save(tmp_path / "evil.npy", evil, allow_pickle=True)
    np.savez(tmp_path / "evil.npz", a=np.arange(3), b=evil)
    np.savez_compressed(tmp_path / "packed.npz", b=evil)
    for name in ("evil.npy", "evil.npz", "packed.npz"):
        assert ["posix.system"] == dangerous(tmp_path / name)
        assert open_checkpoint(tmp_path / name).is_damaged("not-a-checkpoint")
    np.savez(tmp_path / "good.npz", a=np.arange(3))
    assert ["not-a-checkpoint"] == [damage.kind for damage in open_checkpoint(tmp_path / "good.npz").damage]


def array_of(description: bytes) -> bytes:
    """A .npy file of one pickled object, with this header."""
    header = b"{" + description + b", 'fortran_order': False, 'shape': (1,), }\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + CALL


ARRAYS = [b"'descr': '|O'", b"'descr': 'object'", rb"'descr': '\x4f'", b" " * 6000 + b"'descr': '|O'"]


@pytest.mark.parametrize("description", ARRAYS)
def test_arrays_of_objects_however_they_say_so(tmp_path, description):
    """numpy.load(allow_pickle=True), alone and as any member of an archive."""
    (tmp_path / "a.npy").write_bytes(array_of(description))
    paths = [tmp_path / "a.npy"]
    for member, method in (("weights", 0), ("w.npy", zipfile.ZIP_BZIP2), ("w.npy", zipfile.ZIP_LZMA), ("w", 8)):
        paths.append(tmp_path / f"{member}-{method}.npz")
        with zipfile.ZipFile(paths[-1], "w", method) as archive:
            archive.writestr(member, array_of(description))
    for path in paths:
        assert "posix.system" in {str(found) for found in open_checkpoint(path).globals}, path
    np.savez(tmp_path / "good.npz", a=np.arange(3), b=np.array(["text", "more"]))
    assert () == open_checkpoint(tmp_path / "good.npz").globals
