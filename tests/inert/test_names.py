"""Names of the files beside a checkpoint: no two alike, never taken for checkpoints, read only if they are ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckpt_doctor.errors import ForeignFile
from ckpt_doctor.inert import names

MAKERS = [
    names.temporary,
    names.journal,
    names.new,
    names.undo_file,
    names.undo_temporary,
    names.leaving,
    names.removing,
]
CHECKPOINTS = ["checkpoint", "checkpoint.pt", "checkpoint.p", "é" * 127, "é" * 127 + "x", "x" * 255, "x" * 254 + "y"]


@pytest.mark.parametrize("make", MAKERS)
def test_each_is_known_as_ours_and_no_checkpoint_is(make) -> None:
    assert all(names.is_ours(make(Path("run") / name).name) for name in CHECKPOINTS)
    assert not any(map(names.is_ours, [*CHECKPOINTS, "ckpt-doctor", "my.ckpt-doctor", "a.ckpt-doctor-7.tmp.bak"]))


def test_what_belongs_to_a_run_is_ours_too() -> None:
    run = Path("run")
    assert all(map(names.is_ours, [names.LOCK, names.remembered(run).name, names.store(run / "a").parent.name]))


def test_no_two_checkpoints_share_a_name_and_every_name_can_be_made(tmp_path: Path) -> None:
    """Also where the checkpoint's own name leaves no room for a tag."""
    made = [make(tmp_path / name) for make in MAKERS for name in CHECKPOINTS]
    assert len(made) == len(set(made))
    assert all(len(os.fsencode(path.name)) <= names.NAME_MAX for path in made)
    assert {tmp_path} == {path.parent for path in made}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_what_is_left_beside_a_checkpoint_is_seen(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number, make in enumerate((names.undo_file, names.journal, names.new)):
        left = make(Path(name))
        left.symlink_to("nowhere")
        seen = [names.left_beside(path) for path in (Path(name), tmp_path / name)]
        assert [tuple(at == number for at in range(3))] * 2 == seen
        left.unlink()


@pytest.mark.parametrize("name", ["a", "a/b.pt", "..a", "a..b/c"])
def test_a_plain_name_is_a_place_below(name: str) -> None:
    assert names.is_plain(name)


@pytest.mark.parametrize("name", ["", ".", "..", "/a", "a/", "a//b", "a/../b", "./a", "a\0b"])
def test_a_name_that_leads_elsewhere_is_not_plain(name: str) -> None:
    assert not names.is_plain(name)


def test_our_file_is_read_and_what_took_its_name_is_refused(tmp_path: Path) -> None:
    """A link is not followed, a pipe is not waited for, a file that is too long is not read."""
    path = names.journal(tmp_path / "checkpoint")
    with pytest.raises(FileNotFoundError):
        names.read(path, 10)
    path.write_bytes(b"0123456789")
    assert b"0123456789" == names.read(path, 10)
    with pytest.raises(ForeignFile):
        names.read(path, 9)
    path.write_bytes(b"short")
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "link", tmp_path / "pipe", tmp_path):
        with pytest.raises(ForeignFile, match="not a file that ckpt-doctor wrote"):
            names.read(place, 9)


def test_leftovers_are_those_of_killed_runs_on_this_file(tmp_path: Path) -> None:
    mine = [".checkpoint.ckpt-doctor-77.tmp", ".checkpoint.ckpt-doctor-undo-78.tmp"]
    others = [
        ".checkpoint.pt.ckpt-doctor-77.tmp",
        ".checkpoint.ckpt-doctor-77.tmp.bak",
        "checkpoint.ckpt-doctor-77.tmp",
    ]
    for name in [*mine, *others]:
        (tmp_path / name).touch()
    assert mine == [path.name for path in names.leftovers(tmp_path / "checkpoint")]
    assert mine[1:] == [path.name for path in names.leftovers(tmp_path / "checkpoint", ".ckpt-doctor-undo")]
    assert [] == names.leftovers(tmp_path / "absent" / "checkpoint")
