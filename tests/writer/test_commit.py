"""A copy takes the place of the very file that was read, or of none, and says why."""

import errno
import os
from pathlib import Path

import pytest
import torch

from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.writer import commit, copying
from tests.writer import faults
from tests.writer.sample_files import RECORD, accept, edited, litter, make
from tests.writer.test_races import REPLACED, renamed


@pytest.mark.parametrize("mode", ["replace", "in-place"])
@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_file_that_changes_meanwhile_is_left_alone(mode, moment, tmp_path):
    """A trainer that saves over the file between reading and commit keeps its save, and the migration says so."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    edit = edited(path, "torch-zip")

    def save_over(_result: Path | None = None) -> None:
        replacement = tmp_path / "new"
        torch.save({"epoch": 3}, replacement)
        replacement.replace(path)

    if moment == "before":
        save_over()
    with pytest.raises(WriteRefused, match="changed"):
        writer.write(*edit, RECORD, mode=mode, verify=save_over if moment == "during" else accept)
    assert {"epoch": 3} == torch.load(path)
    assert {"checkpoint"} == litter(tmp_path)


def test_a_change_of_the_same_size_is_noticed(tmp_path):
    """Size alone does not identify a file: the time of its last change counts too."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    edit = edited(path, "torch-zip")
    os.utime(path, ns=(1, 1))
    with pytest.raises(WriteRefused, match="changed"):
        writer.write(*edit, RECORD, verify=accept)


def test_a_file_that_was_removed_is_not_brought_back(tmp_path):
    """`save_total_limit` may take a step folder's file away in the middle."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    with pytest.raises(WriteRefused, match="removed"):
        writer.write(*edited(path, "torch-zip"), RECORD, verify=lambda _: path.unlink())
    assert set() == litter(tmp_path)


@pytest.mark.parametrize("mode", ["replace", "in-place", "output"])
def test_a_full_disk_is_found_out_before_writing(container, mode, tmp_path, monkeypatch):
    """The refusal names the bytes that are free and needed."""
    path = make(tmp_path / "checkpoint", container)
    before = path.read_bytes()
    real = os.statvfs(tmp_path)
    full = type("Full", (), {"f_bavail": 3, "f_frsize": real.f_frsize, "f_blocks": real.f_blocks})()
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    monkeypatch.setattr(copying, "write_all", None)
    with pytest.raises(WriteRefused, match=rf"{3 * real.f_frsize:,} bytes free and [\d,]+ are needed"):
        writer.write(*edited(path, container), RECORD, mode=mode, output=tmp_path / "out", verify=accept)
    assert before == path.read_bytes()
    assert {"checkpoint"} == litter(tmp_path)


def test_a_read_only_folder_is_refused_in_plain_words(tmp_path, monkeypatch):
    """Before a lock file or a copy is tried there."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    edit = edited(path, "torch-zip")
    monkeypatch.setattr(os, "access", lambda folder, how: not (Path(folder) == tmp_path and how & os.W_OK))
    with pytest.raises(WriteRefused, match=r"the folder .* is read-only"):
        writer.write(*edit, RECORD, verify=accept)


@pytest.mark.parametrize("scenario", REPLACED)
def test_where_names_cannot_be_exchanged_only_the_rename_itself_is_left(scenario, tmp_path, monkeypatch):
    """The last look comes after the slow search for open handles, right before the rename."""
    monkeypatch.setattr(commit, "exchange", lambda *_: False)
    order: list[str] = []
    for module, name in ((commit, "holders"), (commit, "ensure_unchanged")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, real=real, name=name, **k: (order.append(name), real(*a, **k))[1])
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append(f"replace {to.name}"), replace(self, to))[1])
    sample = make(tmp_path / "sample", faults.SCENARIOS[scenario][1])
    (tmp_path / "run").mkdir()
    _, after = faults.prepare(sample, tmp_path / "run", scenario)
    order.clear()
    faults.perform(tmp_path / "run", scenario)
    assert after == (tmp_path / "run" / "checkpoint").read_bytes()
    last = order.index("replace checkpoint")
    assert ["holders", "ensure_unchanged"] == order[last - 2 : last]


def test_the_newest_of_several_saves_keeps_the_name(tmp_path):
    """One came out of the exchange, and while it is put back the trainer saves once more."""
    path, copy = tmp_path / "checkpoint", tmp_path / "copy"
    copy.write_text("the save that came out")
    path.write_text("ours")
    ours = path.stat()
    renamed(path, b"the next save")
    commit.put_back(copy, path, ours)
    assert "the next save" == path.read_text()
    assert ["checkpoint"] == os.listdir(tmp_path)
    copy.write_text("the save that came out")
    path.unlink()
    commit.put_back(copy, path, ours)
    assert "the save that came out" == path.read_text()


def test_a_folder_made_for_an_output_goes_again_if_nothing_came_into_it(tmp_path):
    """With the folders above it that were made too; one that holds something stays."""
    target = tmp_path / "out" / "run" / "checkpoint"
    with pytest.raises(KeyError), commit.folder_for(target, make=True):
        assert target.parent.is_dir()
        raise KeyError
    assert [] == os.listdir(tmp_path)
    with commit.folder_for(target, make=True):
        target.touch()
    assert target.is_file()
    with pytest.raises(WriteRefused, match="is gone"), commit.folder_for(tmp_path / "no" / "checkpoint", make=False):
        pass


def test_what_the_system_refuses_is_told_with_its_consequence():
    with (
        pytest.raises(WriteRefused, match=r"^a\.pt is as it was: Permission denied$"),
        commit.refusing("a.pt is as it was"),
    ):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
