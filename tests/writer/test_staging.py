"""A folder is built beside another one: its unchanged files get another name, or a copy."""

import errno
import os

import pytest

from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.writer import staging
from ckpt_doctor.writer.folder_state import entry_of, look, noted
from tests.writer.sample_units import contents, make_unit, snapshot
from tests.writer.unit_faults import migrate

pytestmark = pytest.mark.usefixtures("quick_disk")


def test_a_touched_file_gets_its_time_back(tmp_path):
    unit = make_unit(tmp_path)
    before = snapshot(unit)
    migrate(unit)
    os.utime(unit / "model.bin")
    writer.undo(unit)
    assert before == snapshot(unit)


def enough(_needed: int) -> None:
    """A disk with room for everything."""


@pytest.mark.parametrize("share", [True, False])
def test_a_staged_folder_is_the_same_to_every_reader(share, tmp_path):
    """Modes and times as noted; its files are the same files, or copies."""
    unit = make_unit(tmp_path)
    before, entries = snapshot(unit), noted(unit, look(unit))
    (unit / "extra" / "empty").chmod(0o700)
    staged = tmp_path / "staged"
    staging.build(staged, entries, {name: unit / name for name in entries}, share, enough)
    staging.finish(staged, entries, unit)
    assert before == snapshot(staged)
    for name, entry in entries.items():
        if entry.kind == "file":
            assert share is os.path.samefile(unit / name, staged / name), name


def test_the_place_of_a_file_without_a_source_stays_free(tmp_path):
    unit = make_unit(tmp_path)
    entries = noted(unit, look(unit))
    sources = {name: unit / name for name in entries if name != "optimizer.pt"}
    staging.build(tmp_path / "staged", entries, sources, True, enough)
    assert set(contents(unit)) - {"optimizer.pt"} == set(contents(tmp_path / "staged"))


@pytest.mark.parametrize(("number", "copies"), [(errno.EXDEV, True), (errno.EMLINK, True), (errno.ENOSPC, False)])
def test_a_file_that_cannot_have_two_names_is_copied_and_a_full_disk_is_an_error(number, copies, tmp_path, monkeypatch):
    (tmp_path / "a").write_text("weights")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    if copies:
        staging.set_aside(tmp_path / "a", tmp_path / "b", entry_of(tmp_path / "a"), True, enough)
        assert "weights" == (tmp_path / "b").read_text()
    else:
        with pytest.raises(OSError, match="No space left"):
            staging.set_aside(tmp_path / "a", tmp_path / "b", entry_of(tmp_path / "a"), True, enough)


def test_a_copy_that_is_not_what_was_noted_is_refused(tmp_path):
    """The file was written meanwhile, or the disk gave other bytes."""
    (tmp_path / "a").write_text("weights")
    entry = entry_of(tmp_path / "a")
    (tmp_path / "a").write_text("Weights")
    with pytest.raises(WriteRefused, match="changed while it was copied"):
        staging.set_aside(tmp_path / "a", tmp_path / "b", entry, False, enough)
