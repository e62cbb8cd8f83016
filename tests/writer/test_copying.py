"""Bytes are copied by reference, inside the kernel or in pieces, whichever the system offers; holes stay holes."""

import errno
import os

import pytest
import torch

from ckpt_doctor import writer
from ckpt_doctor.writer import copying
from tests.writer.sample_files import RECORD, accept, edited, load, make, same


def test_a_clone_is_taken_where_the_file_system_offers_it(tmp_path, monkeypatch):
    """Then no byte is copied, and no room for a copy is asked for; undo cuts the clone."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    before = path.read_bytes()

    def reflink(source: int, target: int) -> bool:
        os.pwrite(target, os.pread(source, 1 << 20, 0), 0)
        return True

    monkeypatch.setattr(copying, "clone", reflink)
    monkeypatch.setattr(copying, "copy_range", None)
    writer.write(*edited(path, "torch-zip"), RECORD, verify=accept)
    assert -0.5 == torch.load(path)["best_score"]
    writer.undo(path)
    assert before == path.read_bytes()


def test_without_help_from_the_kernel_the_bytes_are_copied_in_pieces(container, tmp_path, monkeypatch):
    """macOS has no copy_file_range, and some file systems refuse it; the progress adds up to the file either way."""
    path = make(tmp_path / "checkpoint", container)
    expected = {**load(path, container), "best_score": -0.5}
    checkpoint, program = edited(path, container)
    done: list[int] = []
    monkeypatch.setattr(copying, "BUFFER", 100)
    monkeypatch.delattr(os, "copy_file_range")
    writer.write(checkpoint, program, RECORD, verify=accept, progress=done.append)
    assert same(expected, load(path, container))
    unchanged = checkpoint.size if container == "torch-zip" else checkpoint.size - checkpoint.program.length
    assert unchanged - (1023 if container == "torch-tar" else 0) <= sum(done) <= unchanged


def test_holes_stay_holes(tmp_path):
    """A sparse file of 300 MB costs what its data cost, and reads the same."""
    path = tmp_path / "checkpoint"
    with torch.serialization.skip_data():
        torch.save({"w": torch.empty(75_000_000)}, path)
    blocks = path.stat().st_blocks
    assert blocks * 512 < 1_000_000
    writer.write(*edited(path, "torch-zip"), RECORD, verify=accept)
    assert path.stat().st_blocks < blocks + 100
    assert 75_000_000 == torch.load(path, mmap=True)["w"].numel()


@pytest.fixture
def two_files(tmp_path):
    """A file of ten bytes, and an empty one, both open."""
    (tmp_path / "source").write_bytes(b"0123456789")
    source = os.open(tmp_path / "source", os.O_RDONLY)
    target = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield source, target
    os.close(source)
    os.close(target)


@pytest.mark.parametrize("in_kernel", [True, False])
def test_a_range_may_be_copied_to_another_place(in_kernel, two_files, monkeypatch):
    source, target = two_files
    if not in_kernel:
        monkeypatch.delattr(os, "copy_file_range")
    copying.copy_range(source, target, 3, 7, to=1)
    assert b"\x003456" == os.pread(target, 20, 0)


@pytest.mark.parametrize("in_kernel", [True, False])
def test_a_source_that_ends_early_is_an_error_and_not_a_short_copy(in_kernel, two_files, monkeypatch):
    source, target = two_files
    if not in_kernel:
        monkeypatch.delattr(os, "copy_file_range")
    for start in (5, 10, 15):
        with pytest.raises(OSError, match="became shorter") as error:
            copying.copy_range(source, target, start, 20)
        assert errno.EIO == error.value.errno


def test_a_short_write_is_continued_and_a_full_disk_is_an_error(two_files, monkeypatch):
    _, target = two_files
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:2], offset))
    assert 5 == copying.write_all(target, b"abcde", 1)
    assert b"\0abcde" == os.pread(target, 20, 0)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        copying.write_all(target, b"abcde", 1)


def test_pieces_end_with_the_file_and_are_never_larger_than_the_buffer(two_files, monkeypatch):
    source, _ = two_files
    monkeypatch.setattr(copying, "BUFFER", 4)
    assert [b"2345", b"67"] == list(copying.pieces(source, 2, 8))
    assert [b"89"] == list(copying.pieces(source, 8, 1 << 40))
    assert [] == list(copying.pieces(source, 12, 20))
    assert [] == list(copying.pieces(source, 7, 2))
