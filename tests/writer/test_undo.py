"""What undo restores is checked before the present file is touched, whatever has happened to it in the meantime."""

import os
import socket
from pathlib import Path

import pytest
import torch

from ckpt_doctor import scan, writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from tests.writer.sample_files import RECORD, cut_off, edited, litter, make

NO_FILES = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "folder": lambda path: path.mkdir(),
    "socket": lambda path: bind(path),
    "6 GB of nothing": lambda path: (path.touch(), os.truncate(path, 6 << 30)),
}


def bind(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("name", ["undo_file", "journal"])
@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("container", ["torch-zip", "torch-legacy"])
def test_what_has_the_name_of_undo_data_and_is_none_is_neither_read_nor_removed(kind, name, container, tmp_path):
    """A scan says so and is done; what would write is refused and names it."""
    path = make(tmp_path / "checkpoint", container)
    before, beside = path.read_bytes(), getattr(names, name)(path)
    NO_FILES[kind](beside)
    (file,) = scan(path).files
    (finding,) = [finding for finding in file.findings if finding.code == "F102"]
    assert ("info", True) == (finding.severity, beside.name in finding.message)
    for act in (
        lambda: writer.write(*edited(path, container), RECORD, verify=lambda _: None),
        lambda: writer.undo(path),
    ):
        with pytest.raises(WriteRefused, match=beside.name):
            act()
    assert before == path.read_bytes()
    assert os.path.lexists(beside)
    assert {"checkpoint", beside.name} == litter(tmp_path) | {beside.name}


def test_the_undo_of_an_interrupted_migration_is_its_roll_back(tmp_path):
    """Earlier migrations stay: only the last, unfinished one is taken back."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    writer.write(*edited(path, "torch-zip", "first"), {"edits": []}, verify=lambda _: None)
    before = cut_off(path)
    writer.undo(path)
    assert before == path.read_bytes()
    assert -0.5 == torch.load(path)["first"]


def test_a_file_of_which_tensor_bytes_changed_is_not_called_the_original(tmp_path):
    """Undo promises the old bytes; where it cannot give them it refuses and changes nothing."""
    path = make(tmp_path / "checkpoint", "torch-legacy")
    writer.write(*edited(path, "torch-legacy"), {"edits": []}, verify=lambda _: None)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(WriteRefused, match="changed since its last migration"):
        writer.undo(path)
    assert data == path.read_bytes()
