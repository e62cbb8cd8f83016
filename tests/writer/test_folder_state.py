"""What a folder contains is noted so that any change of it is found, and nothing else is taken for one."""

import hashlib
import os
from dataclasses import replace

import pytest

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.writer import folder_state
from ckpt_doctor.writer.folder_state import FolderEntry, differing, ensure_unchanged, entry_of, look, noted, shows
from tests.writer.sample_units import make_unit


def test_a_look_lists_each_folder_before_its_content_and_leaves_out_the_lock(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    for name in ("a", "b/c/d", names.LOCK, f"b/{names.LOCK}"):
        (tmp_path / name).write_bytes(b"12")
    found = look(tmp_path)
    assert {"", "a", "b", "b/c", "b/c/d"} == found.keys()
    order = list(found)
    assert order.index("") < order.index("b") < order.index("b/c") < order.index("b/c/d")
    assert 4 == folder_state.size_of(found)


def test_folders_may_be_so_deep_and_no_deeper(tmp_path):
    """Otherwise a chain of folders would decide how deep this goes."""
    deepest = tmp_path.joinpath(*["d"] * folder_state.DEEPEST)
    deepest.mkdir(parents=True)
    assert folder_state.DEEPEST + 1 == len(look(tmp_path))
    (deepest / "d").mkdir()
    with pytest.raises(WriteRefused, match="deep"):
        look(tmp_path)


def test_a_note_has_the_hash_of_each_file_and_the_target_of_each_link(tmp_path):
    """The bytes that are read add up to the folder's size."""
    unit = make_unit(tmp_path)
    done: list[int] = []
    found = look(unit)
    entries = noted(unit, found, done.append)
    assert hashlib.sha256((unit / "model.bin").read_bytes()).hexdigest() == entries["model.bin"].sha256
    assert ("link", "../elsewhere") == (entries["link"].kind, entries["link"].target)
    assert "folder" == entries["extra/empty"].kind
    assert folder_state.size_of(found) == sum(done)
    assert entries["model.bin"] == entry_of(unit / "model.bin")
    assert entry_of(unit / "gone") is None


CHANGES = {
    "a new file": lambda folder: (folder / "new").touch(),
    "a file less": lambda folder: (folder / "b").unlink(),
    "a longer file": lambda folder: (folder / "b").write_bytes(b"123"),
    "a touched file": lambda folder: os.utime(folder / "b", ns=(1, 1)),
    "a file of the same look": lambda folder: replaced(folder / "b"),
    "a folder of that name": lambda folder: ((folder / "b").unlink(), (folder / "b").mkdir()),
}


def replaced(path) -> None:
    """Another file, of the same size and time."""
    before = path.stat()
    beside = path.with_name("beside")
    beside.write_bytes(b"21")
    os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
    beside.rename(path)


@pytest.mark.parametrize("kind", CHANGES)
def test_any_change_is_found_and_named(kind, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_bytes(b"12")
    found = look(tmp_path)
    ensure_unchanged(tmp_path, found)
    (tmp_path / "a").chmod(0o700)  # what lies in a folder counts, not the folder's own times
    ensure_unchanged(tmp_path, found)
    CHANGES[kind](tmp_path)
    with pytest.raises(WriteRefused, match=r"(b|new) changed since it was read"):
        ensure_unchanged(tmp_path, found)


def test_a_folder_that_is_gone_is_told(tmp_path):
    (tmp_path / "unit").mkdir()
    found = look(tmp_path / "unit")
    (tmp_path / "unit").rmdir()
    with pytest.raises(WriteRefused, match="was removed"):
        ensure_unchanged(tmp_path / "unit", found)


def test_a_folder_shows_a_state_by_names_sizes_and_times(tmp_path):
    unit = make_unit(tmp_path)
    entries = noted(unit, look(unit))
    assert shows(look(unit), entries)
    assert not shows(look(unit), {name: entry for name, entry in entries.items() if name != "link"})
    os.utime(unit / "model.bin", ns=(1, 1))
    assert not shows(look(unit), entries)


def test_states_differ_in_what_a_reader_sees():
    """Modes and times are not among that; a file that one lacks is."""
    one = {"a": FolderEntry("file", 0o644, 1, 2, "hash"), "b": FolderEntry("link", 0o777, 1, target="a")}
    assert [] == differing(one, {"a": replace(one["a"], mode=0o600, mtime_ns=9), "b": one["b"]})
    assert ["a", "c"] == differing(one, {**one, "a": replace(one["a"], sha256="other"), "c": one["a"]})
    assert ["b"] == differing(one, {"a": one["a"], "b": replace(one["b"], target="c")})
