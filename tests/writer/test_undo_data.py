"""What undo restores is checked before the present file is touched, whatever has happened to it in the meantime."""

import os
import socket
import zipfile
from pathlib import Path

import pytest
import torch

from ckpt_doctor import repair, scan, writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.writer import splice
from ckpt_doctor.writer.previous import previous_states
from tests.writer.sample_files import checkpoint_of, edited, litter, make
from tests.writer.test_recover import cut_off

RECORD = {"tool_version": "0", "edits": []}


def migrated(path: Path, container: str = "torch-zip", times: int = 1) -> bytes:
    """Make a sample at `path`, migrate it, and give back its bytes before."""
    before = make(path, container).read_bytes()
    for number in range(times):
        writer.write(*edited(path, container, f"key{number}"), RECORD, verify=lambda _: None)
    return before


def live(path: Path, size: int) -> set[int]:
    """Offsets below `size` whose bytes belong to records that undo neither sets aside nor restores."""
    import struct

    offsets: set[int] = set()
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        for info in archive.infolist():
            file.seek(info.header_offset + 26)
            begin = info.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
            offsets |= set(range(begin, begin + info.compress_size)) if begin < size else set()
    return offsets


def flipped(path: Path, data: bytes, at: int) -> bytes:
    """Write `data` with one bit of byte `at` flipped."""
    changed = bytearray(data)
    changed[at] ^= 1 << at % 8
    path.write_bytes(changed)
    return bytes(changed)


def codes(path: Path) -> dict[str, str]:
    """What a deep scan says: code -> severity."""
    (file,) = scan(path, deep=True).files
    return {finding.code: finding.severity for finding in file.findings}


SOME, ALL = 41, 1


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("step", [SOME, pytest.param(ALL, marks=pytest.mark.long)])
def test_a_flipped_bit_in_dead_bytes_is_never_restored(step, in_place, tmp_path):
    """Refused, and the good file stays; the deep check says so, and that the checkpoint itself is not affected."""
    path = tmp_path / "checkpoint"
    before = migrated(path)
    after = path.read_bytes()
    dead = sorted(set(range(len(before))) - live(path, len(before)))
    assert len(dead) > 1000
    for at in dead[::step]:
        changed = flipped(path, after, at)
        with pytest.raises(WriteRefused):
            writer.undo(path, in_place=in_place)
        assert changed == path.read_bytes(), at
    changed = flipped(path, after, checkpoint_of(make(tmp_path / "sample", "torch-zip"), "torch-zip").program.offset)
    assert {"F102": "info"} == {code: severity for code, severity in codes(path).items() if code == "F102"}
    path.write_bytes(after)
    assert "F102" not in codes(path)
    assert "rest" == writer.undo(path, in_place=in_place).proof
    assert before == path.read_bytes()


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_a_flipped_bit_in_a_small_record_is_never_called_the_old_file(times, in_place, tmp_path):
    """Readers go by `byteorder` and `version`, and undo did not look at them: refused, whichever migration it is."""
    path = tmp_path / "checkpoint"
    before = migrated(path, times=times)
    after = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        records = [i for i in archive.infolist() if "/data/" not in i.filename and i.header_offset < len(before)]
    assert {"byteorder", "version", "serialization_id"} <= {info.filename.rpartition("/")[2] for info in records}
    for info in records:
        begin = int.from_bytes(after[info.header_offset + 26 : info.header_offset + 28], "little")
        begin += int.from_bytes(after[info.header_offset + 28 : info.header_offset + 30], "little")
        changed = flipped(path, after, info.header_offset + 30 + begin + info.file_size - 1)
        with pytest.raises(WriteRefused):
            writer.undo(path, in_place=in_place)
        assert changed == path.read_bytes(), info.filename
        assert "F102" in codes(path)
    path.write_bytes(after)
    for _ in range(times):
        assert "rest" == writer.undo(path, in_place=in_place).proof
    assert before == path.read_bytes()


def test_a_file_migrated_before_small_records_were_hashed_is_undone(tmp_path, monkeypatch):
    """Its record lacks that hash; the others are compared as they were."""
    path = tmp_path / "checkpoint"
    with monkeypatch.context() as patch:
        patch.setattr(splice, "records_digest", lambda *_: None)
        before = migrated(path)
    writer.undo(path)
    assert before == path.read_bytes()


@pytest.mark.parametrize("step", [SOME, pytest.param(ALL, marks=pytest.mark.long)])
def test_a_flipped_bit_in_the_undo_file_is_never_restored(step, tmp_path):
    """Refused, or, where the bit means nothing, the very bytes from before."""
    path = tmp_path / "checkpoint"
    before = migrated(path, "torch-legacy")
    after, beside = path.read_bytes(), names.undo_file(path)
    data = beside.read_bytes()
    for at in range(0, len(data), step):
        changed = flipped(beside, data, at)
        try:
            writer.undo(path)
        except WriteRefused:
            assert (after, changed) == (path.read_bytes(), beside.read_bytes()), at
        else:
            assert before == path.read_bytes(), at
            path.write_bytes(after)
    flipped(beside, data, len(data) // 2)
    assert "info" == codes(path)["F102"]
    beside.write_bytes(data)
    assert "F102" not in codes(path)
    assert "file" == writer.undo(path).proof


def test_a_flipped_bit_in_a_journal_never_leaves_a_file_without_its_end(tmp_path):
    """Rolled back, or left alone together with its journal, or called whole and whole it is."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    before = cut_off(path)
    cut, journal = path.read_bytes(), names.journal(path)
    data = journal.read_bytes()
    for at in range(len(data)):
        path.write_bytes(cut)
        changed = flipped(journal, data, at)
        try:
            writer.recover(path)
        except WriteRefused:
            assert (cut, changed) == (path.read_bytes(), journal.read_bytes()), at
        else:
            assert before == path.read_bytes(), at


def test_what_an_older_version_migrated_is_undone_and_not_called_compared(tmp_path, monkeypatch):
    """Its records have no hash of the old program; that program's checksum in the old directory is compared."""
    path = tmp_path / "checkpoint"
    with monkeypatch.context() as patch:
        patch.setattr(splice, "rest_digest", lambda *_: None)
        before = migrated(path)
    after = path.read_bytes()
    (file,) = scan(path, deep=True).files
    assert "what undo restores" in {unsure.what for unsure in file.not_checked}
    program = checkpoint_of(make(tmp_path / "sample", "torch-zip"), "torch-zip").program
    for at in range(program.offset, program.offset + program.length, SOME):
        flipped(path, after, at)
        with pytest.raises(WriteRefused):
            writer.undo(path)
    assert "info" == codes(path)["F102"]
    path.write_bytes(after)
    (result,) = repair.undo(path)
    assert "kept no hash" in result.message
    assert "byte for byte" not in result.message
    assert before == path.read_bytes()


def test_a_damaged_earlier_state_stops_only_the_undo_that_would_restore_it(tmp_path):
    """The last migration is taken back, and a note says that the one before it cannot be."""
    path = tmp_path / "checkpoint"
    before = migrated(path, times=2)
    (_, size) = [state.size for state in states(path)]
    assert len(before) == size
    flipped(path, path.read_bytes(), checkpoint_of(make(tmp_path / "sample", "torch-zip"), "torch-zip").program.offset)
    assert "info" == codes(path)["F102"]
    receipt = writer.undo(path)
    assert "none" == receipt.proof
    assert any("damaged" in note for note in receipt.notes)
    once = path.read_bytes()
    with pytest.raises(WriteRefused, match="have changed since"):
        writer.undo(path)
    assert once == path.read_bytes()
    assert -0.5 == torch.load(path)["key0"]


def states(path: Path) -> list:
    with path.open("rb") as file:
        return list(previous_states(file.fileno()))


def test_the_states_of_a_file_are_read_once_each(tmp_path, monkeypatch):
    """However often it was migrated: no more bytes are hashed than the file has."""
    from ckpt_doctor.writer import copying

    path = tmp_path / "checkpoint"
    migrated(path, times=12)
    hashed = 0
    real = copying.pieces

    def counting(*place):
        nonlocal hashed
        for piece in real(*place):
            hashed += len(piece)
            yield piece

    monkeypatch.setattr(copying, "pieces", counting)
    assert ("", True) == writer.undo_damage(path)
    assert 0 < hashed <= path.stat().st_size


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
