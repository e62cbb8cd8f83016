"""The tar archives of the first versions of torch."""

from __future__ import annotations

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
