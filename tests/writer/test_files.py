"""Durable files: attributes, names, and what the system refuses."""

import errno
import os
import stat
from pathlib import Path

import pytest

from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.writer import files
from tests.writer.sample_files import RECORD, accept, edited, load, make


def test_attributes_survive_a_replacement_and_its_undo(container, tmp_path):
    """Mode, times and user attributes; read-only stays read-only."""
    path = make(tmp_path / "checkpoint", container)
    os.setxattr(path, "user.note", b"best of May")
    os.utime(path, ns=(1_700_000_000_000_000_001, 1_600_000_000_000_000_003))
    os.chmod(path, 0o440)
    writer.write(*edited(path, container), RECORD, verify=accept)
    for _ in range(2):
        assert 0o440 == stat.S_IMODE(path.stat().st_mode)
        assert 1_600_000_000_000_000_003 == path.stat().st_mtime_ns
        assert b"best of May" == os.getxattr(path, "user.note")
        if "best_score" in load(path, container):
            writer.undo(path)


def test_a_system_without_exchange_is_told_by_the_call(tmp_path):
    """On this one both files keep their bytes and swap their names, or neither does."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("1")
    other.write_text("2")
    swapped = files.exchange(one, other)
    assert (("2", "1") if swapped else ("1", "2")) == (one.read_text(), other.read_text())
    with pytest.raises(FileNotFoundError):
        if not files.exchange(one, tmp_path / "gone"):
            raise FileNotFoundError


def test_a_new_file_has_its_name_only_when_it_is_whole_and_verified(tmp_path):
    """Until then it lies under another name; its folder is made."""
    output = tmp_path / "new" / "a.pt"
    seen = []

    def verify(temporary: Path) -> None:
        seen.append((temporary.read_bytes(), output.exists()))

    assert 5 == files.write_new(output, lambda file: file.write(b"whole") and verify)
    assert [(b"whole", False)] == seen
    assert b"whole" == output.read_bytes()
    with pytest.raises(WriteRefused, match="exists already"):
        files.write_new(output, lambda file: file.write(b"other") and None)
    assert b"whole" == output.read_bytes()
    assert ["a.pt"] == os.listdir(output.parent)


@pytest.mark.parametrize("when", ["written", "verified"])
def test_a_new_file_that_fails_leaves_nothing_and_names_the_output(when, tmp_path):
    """A full disk says which file it could not take, though the system does not."""

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"No space left on device: .*out\.pt"):
        files.write_new(tmp_path / "out.pt", full if when == "written" else lambda _: full)
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize("links", [True, False])
def test_a_name_that_is_taken_is_never_written_over(links, tmp_path, monkeypatch):
    """Not even a dangling link's, and not where the file system has no hard links."""
    temporary, output = tmp_path / "temporary", tmp_path / "output"
    temporary.write_text("new")
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here")))
    output.symlink_to("nowhere")
    with pytest.raises(WriteRefused, match="exists already"):
        files.place(temporary, output)
    assert output.is_symlink()
    output.unlink()
    files.place(temporary, output)
    assert "new" == output.read_text()


def test_a_folder_that_cannot_be_synced_gives_a_note_and_one_that_never_can_gives_none(tmp_path, monkeypatch):
    """FUSE file systems answer EINVAL for every folder: that is not worth a word."""
    assert [] == files.sync_folder(tmp_path)
    for number, notes in ((errno.EINVAL, 0), (errno.EIO, 1)):

        def refuse(_fd: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", refuse)
        assert notes == len(files.sync_folder(tmp_path))
