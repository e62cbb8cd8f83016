"""The tar archives of the first versions of torch."""

from __future__ import annotations

import tarfile

import torch

from ckpt_doctor import scan
from ckpt_doctor.readers import open_checkpoint
from tests.readers.attacks import dangerous
from tests.readers.torch_equal import bits, read_tensor
from tests.readers.torch_files import load, tar_checkpoint


def test_tar_from_before_0_1_10(tmp_path):
    """The oldest format: same tensors as `torch.load` finds, bytes included."""
    path = tar_checkpoint(tmp_path / "model.pt")
    checkpoint = open_checkpoint(path)
    loaded = load(path)
    assert "torch-tar" == checkpoint.container
    assert list(loaded) == list(checkpoint.root)
    assert bits(loaded["weight"]) == read_tensor(checkpoint, checkpoint.tensors[0])


def test_a_model_of_nemo_has_its_weights_and_no_optimizer(tmp_path):
    """One in several files is named as such; one whose weights are cut off is broken."""
    torch.save({"w": torch.ones(3)}, tmp_path / "model_weights.ckpt")
    (tmp_path / "model_config.yaml").write_text("target: x")
    path = tmp_path / "a.nemo"
    for names in (["model_config.yaml", "model_weights.ckpt"], ["model_config.yaml"]):
        with tarfile.open(path, "w") as archive:
            for name in names:
                archive.add(tmp_path / name, f"./{name}")
        (file,) = scan([path]).files
        assert ("nemo-tar", "not judged", ()) == (file.checkpoint.container, file.resume, file.findings)
        tensors = [one.name for one in file.checkpoint.tensors]
        assert (["w"] if len(names) == 2 else []) == tensors
        assert any("several" in one.why or "not in one file" in one.why for one in file.not_checked) != bool(tensors)
    (tmp_path / "model_weights.ckpt").write_bytes(b"PK")
    with tarfile.open(path, "w") as archive:
        for name in ("model_config.yaml", "model_weights.ckpt"):
            archive.add(tmp_path / name, name)
    assert ["missing-record"] == [one.kind for one in open_checkpoint(path).damage]


def test_tar_members(tmp_path, canary):
    """Every pickle in an old tar is examined."""
    path = tar_checkpoint(tmp_path / "t")
    raw = path.read_bytes()
    call = b"cposix\nsystem\nX\x01\x00\x00\x00x\x85R0"
    at = raw.index(b"\x80\x02ccollections")
    path.write_bytes(raw[:at] + b"\x80\x02" + call + b"}." + raw[at + 4 + len(call) :])
    assert ["posix.system"] == dangerous(path)


def test_every_header_of_a_tar_has_its_checksum_verified(tmp_path):
    """A flipped bit in a later one makes the members from there on invisible to Python's tarfile, and to torch."""
    raw = tar_checkpoint(tmp_path / "a").read_bytes()
    headers = [at for at in range(0, len(raw), 512) if raw[at + 257 : at + 262] == b"ustar"]
    assert len(headers) > 3
    for at in headers[1:]:
        for byte in (0, 124, 148, 300, 511):
            changed = bytearray(raw)
            changed[at + byte] ^= 1
            (tmp_path / "b").write_bytes(changed)
            assert open_checkpoint(tmp_path / "b").is_damaged("truncated-archive"), (at, byte)


def test_what_is_behind_the_last_member_does_not_matter(tmp_path):
    """tarfile takes an archive without its end, or with other bytes there, but not without a byte of the last block."""
    path = tar_checkpoint(tmp_path / "a")
    raw = path.read_bytes()
    end = raw.rindex(b"ustar") - 257 + 512
    end += -(-int(raw[end - 512 + 124 : end - 512 + 135], 8) // 512) * 512
    path.write_bytes(raw[:end])
    assert load(path)
    assert () == tuple(damage for damage in open_checkpoint(path).damage if damage.kind == "truncated-archive")
    path.write_bytes(raw[: end - 1])
    assert open_checkpoint(path).is_damaged("truncated-archive")
