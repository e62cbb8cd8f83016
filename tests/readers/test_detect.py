"""What a file is, by its content alone."""

from __future__ import annotations

import os

import pytest
import torch

from ckpt_doctor.readers import open_checkpoint
from tests.readers.attacks import CALL
from tests.readers.torch_files import save


@pytest.mark.parametrize("content", [b"", bytes(3), bytes(3 << 20)])
def test_empty_files(tmp_path, content):
    """No bytes, or only zeros."""
    path = tmp_path / "checkpoint"
    path.write_bytes(content)
    assert ["empty-file"] == [damage.kind for damage in open_checkpoint(path).damage]


def test_what_the_system_refuses(tmp_path):
    """An absent file, a folder and a FIFO are findings; the FIFO does not hang."""
    assert ["vanished-file"] == [d.kind for d in open_checkpoint(tmp_path / "absent").damage]
    assert ["not-a-checkpoint"] == [d.kind for d in open_checkpoint(tmp_path).damage]
    os.mkfifo(tmp_path / "pipe")
    assert ["not-a-checkpoint"] == [d.kind for d in open_checkpoint(tmp_path / "pipe").damage]


STARTS = [
    b"N0",
    b"I1\n0",
    b")0",
    b"S'x'\n0",
    b"\x8c\x01a0",
    b"\x880",
    b"K\x010",
    b"U\x01a0",
    b"J\0\0\0\x000",
    b"F1\n0",
    b"V\n0",
]
STARTS += [b"\x95\0\0\0\0\0\0\0\0"]


@pytest.mark.parametrize("start", STARTS)
def test_a_pickle_need_not_begin_like_one(tmp_path, start):
    """pickle.load, and torch.load for the legacy stream behind it."""
    for behind in (CALL, CALL + save(tmp_path / "stream", {"w": torch.ones(2)}, False).read_bytes()):
        (tmp_path / "a").write_bytes(start + behind)
        assert "posix.system" in {str(found) for found in open_checkpoint(tmp_path / "a").globals}


def test_a_pickle_that_looks_like_safetensors_or_a_tar_file(tmp_path):
    """A header's length that is an opcode and its text; a member's name that is a program."""
    (tmp_path / "a").write_bytes(b"\x8b\x04\0\0\0\0\0\0{0" + CALL + b" " * 2000)
    block = bytearray(CALL.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"00000000000\0" * 2)
    block += b" " * 8 + b"0" + bytes(512 - 157)
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "b").write_bytes(bytes(block) + bytes(1024))
    for path in (tmp_path / "a", tmp_path / "b"):
        assert "posix.system" in {str(found) for found in open_checkpoint(path).globals}


def test_a_terabyte_of_nothing_is_not_read(tmp_path):
    """Reserved space, and a pickle in front of it."""
    for name_, begin in (("zeros", b""), ("pickle", b"\x80\x04" + b"N0" * 10)):
        path = tmp_path / name_
        path.write_bytes(begin)
        with path.open("r+b") as file:
            file.truncate(1 << 40)
        checkpoint = open_checkpoint(path)
        assert checkpoint.is_damaged()
        assert checkpoint.bytes_read < 1 << 24
