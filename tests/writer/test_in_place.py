"""An edit in place that is cut off is rolled back by its journal, and no other file is."""

import pytest
import torch

from ckpt_doctor import scan, writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from tests.writer.sample_files import RECORD, accept, cut_off, edited, flipped, litter, make


def test_a_read_only_file_is_not_edited_in_place(tmp_path):
    """Not even by root, for whom the system would allow it."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    edit = edited(path, "torch-zip")
    path.chmod(0o444)
    with pytest.raises(WriteRefused, match="read-only"):
        writer.write(*edit, RECORD, mode="in-place", verify=accept)
    writer.write(*edit, RECORD, verify=accept)
    with pytest.raises(WriteRefused, match="read-only"):
        writer.undo(path, in_place=True)


@pytest.mark.parametrize("keep", [0.01, 0.5, 1.0])
def test_an_interrupted_migration_is_told_and_rolled_back(keep, tmp_path):
    """However many of its bytes arrived: nobody had verified them. Times come back too."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    times = path.stat().st_mtime_ns
    before = cut_off(path, keep=keep)
    journal = writer.interrupted(path)
    assert (path, len(before)) == (journal.path, journal.previous_size)
    recovery = writer.recover(path)
    assert "rolled-back" == recovery
    assert (before, times) == (path.read_bytes(), path.stat().st_mtime_ns)
    assert {"checkpoint"} == litter(tmp_path)
    assert writer.recover(path) is None
    assert writer.interrupted(path) is None


def test_a_new_save_under_the_name_is_never_cut(tmp_path):
    """The trainer went on and saved over the half-migrated file: the journal means nothing any more."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    before = cut_off(path)
    torch.save({"epoch": 4, "fill": torch.zeros(len(before) // 4 - 400)}, path)
    saved = path.read_bytes()
    assert writer.interrupted(path) is None
    assert "cleaned" == writer.recover(path)
    assert saved == path.read_bytes()
    assert {"checkpoint"} == litter(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"previous_size": 1'])
def test_a_journal_that_was_cut_off_itself_is_removed(content, tmp_path):
    """Nothing is appended before the journal is whole, so the file is as it was."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    before = path.read_bytes()
    names.journal(path).write_bytes(content)
    assert "cleaned" == writer.recover(path)
    assert before == path.read_bytes()
    assert {"checkpoint"} == litter(tmp_path)


@pytest.mark.parametrize("content", [b"[]", b'{"previous_size": 1}', b'{"format": 9, "steps": []}'])
def test_a_journal_of_another_version_is_left_to_it(content, tmp_path):
    """Removed, it would leave a half-written end that nobody knows of any more."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    names.journal(path).write_bytes(content)
    with pytest.raises(WriteRefused, match="another version"):
        writer.recover(path)
    assert content == names.journal(path).read_bytes()
    assert "F107" in {finding.code for finding in scan(path).findings}


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
