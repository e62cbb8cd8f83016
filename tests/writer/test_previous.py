"""The states that undo can go back to are dead bytes of the archive: compared before one is restored."""

import zipfile
from pathlib import Path

import pytest
import torch

from ckpt_doctor import repair, scan, writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.writer import splice
from ckpt_doctor.writer.previous import previous_states
from tests.writer.sample_files import ALL, SOME, checkpoint_of, codes, edited, flipped, make, migrated


def test_a_zip_of_which_the_old_end_changed_is_not_cut(tmp_path):
    """As when a zip tool packed the records anew, the migration's own record included."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    size = path.stat().st_size
    writer.write(*edited(path, "torch-zip"), {"edits": []}, verify=lambda _: None)
    data = bytearray(path.read_bytes())
    data[size - 150] ^= 1
    path.write_bytes(data)
    for in_place_too in (False, True):
        with pytest.raises(WriteRefused):
            writer.undo(path, in_place=in_place_too)
        assert data == path.read_bytes()


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
