"""What the next run makes of journals, undo data and temporary files that a killed run, or another program, left."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from ckpt_doctor import latest, migrate, scan, writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.writer import in_place, sidecar
from tests.writer.sample_files import edited, litter, load, make


def cut_off(path, *, keep: float = 0.5):
    """Leave `path` as a kill in the middle of an edit in place does, with a part of the new bytes; returns the old."""
    before = path.read_bytes()
    edit = edited(path, "torch-zip")
    journal = names.journal(path)

    def stop(_result):
        raise SystemExit

    # Keep the journal and the appended bytes where a failed verification would take them back.
    original_roll_back, original_remove = in_place.roll_back, in_place.remove_journal
    in_place.roll_back = lambda *_: None
    in_place.remove_journal = lambda *_: None
    try:
        with pytest.raises(SystemExit):
            writer.write(*edit, {"edits": []}, mode="in-place", verify=stop)
    finally:
        in_place.roll_back, in_place.remove_journal = original_roll_back, original_remove
    assert journal.exists()
    size = path.stat().st_size
    os.truncate(path, len(before) + int((size - len(before)) * keep))
    return before


@pytest.mark.parametrize("keep", [0.01, 0.5, 1.0])
def test_an_interrupted_migration_is_told_and_rolled_back(keep, tmp_path):
    """However many of its bytes arrived: nobody had verified them. Times come back too."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    times = path.stat().st_mtime_ns
    before = cut_off(path, keep=keep)
    journal = writer.interrupted(path)
    assert (path, len(before)) == (journal.path, journal.previous_size)
    recovery = writer.recover(path)
    assert ("rolled-back", len(before)) == (recovery.action, recovery.size)
    assert (before, times) == (path.read_bytes(), path.stat().st_mtime_ns)
    assert {"checkpoint"} == litter(tmp_path)
    assert writer.recover(path) is None
    assert writer.interrupted(path) is None


def test_the_undo_of_an_interrupted_migration_is_its_roll_back(tmp_path):
    """Earlier migrations stay: only the last, unfinished one is taken back."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    writer.write(*edited(path, "torch-zip", "first"), {"edits": []}, verify=lambda _: None)
    before = cut_off(path)
    receipt = writer.undo(path)
    assert before == path.read_bytes()
    assert 1 == receipt.left
    assert -0.5 == torch.load(path)["first"]


def test_a_write_after_an_interrupted_one_starts_from_the_old_file(tmp_path):
    """What was read from the half-written file is void: the write rolls back, refuses, and works the next time."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    before = cut_off(path, keep=1.0)
    with pytest.raises(WriteRefused, match="rolled back; run again"):
        writer.write(*edited(path, "torch-zip"), {"edits": []}, verify=lambda _: None)
    assert before == path.read_bytes()
    writer.write(*edited(path, "torch-zip"), {"edits": []}, verify=lambda _: None)
    assert -0.5 == torch.load(path)["best_score"]


def test_a_new_save_under_the_name_is_never_cut(tmp_path):
    """The trainer went on and saved over the half-migrated file: the journal means nothing any more."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    before = cut_off(path)
    torch.save({"epoch": 4, "fill": torch.zeros(len(before) // 4 - 400)}, path)
    saved = path.read_bytes()
    assert writer.interrupted(path) is None
    assert "cleaned" == writer.recover(path).action
    assert saved == path.read_bytes()
    assert {"checkpoint"} == litter(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b'{"previous_size": 1'])
def test_a_journal_that_was_cut_off_itself_is_removed(content, tmp_path):
    """Nothing is appended before the journal is whole, so the file is as it was."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    before = path.read_bytes()
    names.journal(path).write_bytes(content)
    assert "cleaned" == writer.recover(path).action
    assert before == path.read_bytes()
    assert {"checkpoint"} == litter(tmp_path)


COS = next((Path(__file__).parents[2] / "fixtures/sample-runs/complete-COS/checkpoints").iterdir())


@pytest.mark.parametrize("name", ["journal", "undo_file"])
@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_blocks_every_migration_is_told_and_no_cure_is_one_that_cannot_be_carried_out(name, kind, tmp_path):
    """The file needs a migration and can have none until that entry is gone: not `repairable`, nor for `latest`."""
    run = Path(shutil.copytree(COS, tmp_path / COS.name))
    path = run / "checkpoint_step_75" / "checkpoint.pt"
    before, beside = path.read_bytes(), getattr(names, name)(path)
    assert "repairable" == scan(run).files[1].verdict
    {"pipe": os.mkfifo, "link": lambda at: at.symlink_to("nowhere"), "folder": Path.mkdir}[kind](beside)
    (file,) = [file for file in scan(run).files if file.checkpoint.path == path]
    assert "broken" == file.verdict
    assert not any(finding.migration or "migrate" in (finding.fix or "") for finding in file.findings)
    (finding,) = [finding for finding in file.findings if finding.code == "F102"]
    assert "error" == finding.severity
    assert all(word in finding.message for word in (beside.name, "blocks `migrate` and `undo`"))
    assert "Only undo" not in finding.message
    chosen, passed_over = latest(run, repairable=True)
    assert path != chosen
    assert "F102" in dict(passed_over).get(path, "F102")
    assert {"refused", "failed"} >= {result.status for result in migrate(path)}
    assert before == path.read_bytes()
    (beside.rmdir if kind == "folder" else beside.unlink)()
    assert ["migrated"] == [result.status for result in migrate(path)]
    {"pipe": os.mkfifo, "link": lambda at: at.symlink_to("nowhere"), "folder": Path.mkdir}[kind](beside)
    (file,) = [file for file in scan(run).files if file.checkpoint.path == path]
    assert 1 == len(file.checkpoint.migrations)
    assert ["info"] == [finding.severity for finding in file.findings if finding.code == "F102"]


@pytest.mark.parametrize("content", [b"[]", b'{"previous_size": 1}', b'{"format": 9, "steps": []}'])
def test_a_journal_of_another_version_is_left_to_it(content, tmp_path):
    """Removed, it would leave a half-written end that nobody knows of any more."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    names.journal(path).write_bytes(content)
    with pytest.raises(WriteRefused, match="another version"):
        writer.recover(path)
    assert content == names.journal(path).read_bytes()
    assert "F107" in {finding.code for finding in scan(path).findings}


def test_undo_data_of_a_migration_that_never_came_to_be_is_dropped(tmp_path):
    """A kill between undo data and rename: the file is the old one, and the earlier generations still lead back."""
    path = make(tmp_path / "checkpoint", "torch-legacy")
    original = path.read_bytes()
    writer.write(*edited(path, "torch-legacy", "first"), {"edits": []}, verify=lambda _: None)
    once = path.read_bytes()
    writer.write(*edited(path, "torch-legacy", "second"), {"edits": []}, verify=lambda _: None)
    path.write_bytes(once)
    assert 1 == len(writer.history(path))
    assert "cleaned" == writer.recover(path).action
    writer.undo(path)
    assert original == path.read_bytes()
    assert {"checkpoint"} == litter(tmp_path)


def test_undo_data_of_another_file_is_never_applied(tmp_path):
    """The trainer saved a new checkpoint over a migrated one: nothing to undo, and the next migration starts afresh."""
    path = make(tmp_path / "checkpoint", "torch-legacy")
    writer.write(*edited(path, "torch-legacy"), {"edits": []}, verify=lambda _: None)
    torch.save({"epoch": 4}, path, _use_new_zipfile_serialization=False)
    saved = path.read_bytes()
    with pytest.raises(WriteRefused, match="no migration to undo"):
        writer.undo(path)
    writer.write(*edited(path, "torch-legacy"), {"edits": []}, verify=lambda _: None)
    assert {"epoch": 4, "best_score": -0.5} == load(path, "torch-legacy")
    writer.undo(path)
    assert saved == path.read_bytes()


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


FIELDS = {"record": {}, "start": 0, "old": "", "new_length": 1, "new_sha256": "", "old_size": 1, "new_size": 1}
DAMAGED = [
    b"",
    b"{}",
    b"[" * 100_000,
    b'{"format": 1, "generations": [{}]}',
    b'{"format": 99}',
    json.dumps({"format": 1, "generations": [{**FIELDS, "old_file_sha256": 7}]}).encode(),
    json.dumps({"format": 1, "generations": [{**FIELDS, "old_file_sha256": "", "start": -1}]}).encode(),
]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_undo_data_that_cannot_be_read_is_not_written_over(content, tmp_path):
    """Damaged or from a newer version, it may be somebody's only way back."""
    path = make(tmp_path / "checkpoint", "torch-legacy")
    before = path.read_bytes()
    names.undo_file(path).write_bytes(content)
    for act in (
        lambda: writer.write(*edited(path, "torch-legacy"), {"edits": []}, verify=lambda _: None),
        lambda: writer.undo(path),
    ):
        with pytest.raises(WriteRefused, match=r"damaged|newer version"):
            act()
    assert (before, content) == (path.read_bytes(), names.undo_file(path).read_bytes())


def test_old_bytes_that_do_not_unpack_are_not_put_back(tmp_path):
    """The undo data was damaged after the migration: refused, and the file stays as it is."""
    path = make(tmp_path / "checkpoint", "torch-legacy")
    writer.write(*edited(path, "torch-legacy"), {"edits": []}, verify=lambda _: None)
    migrated = path.read_bytes()
    content = json.loads(names.undo_file(path).read_bytes())
    content["generations"][0]["old"] = content["generations"][0]["old"][:-30]
    names.undo_file(path).write_text(json.dumps(content))
    with pytest.raises(WriteRefused):
        writer.undo(path)
    assert migrated == path.read_bytes()


def test_temporary_files_of_killed_runs_go_and_those_of_other_files_stay(tmp_path):
    """Only names that this file's temporary copies can have."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    gone = [".checkpoint.ckpt-doctor-77.tmp", ".checkpoint.ckpt-doctor-undo-78.tmp"]
    stay = [".checkpoint.pt.ckpt-doctor-77.tmp", ".checkpoint.ckpt-doctor-77.tmp.bak", "checkpoint.ckpt-doctor-77.tmp"]
    for name in gone + stay:
        (tmp_path / name).touch()
    assert "cleaned" == writer.recover(path).action
    assert {"checkpoint", *stay} == litter(tmp_path)
    assert all(names.is_ours(name) for name in gone)
    assert not any(names.is_ours(name) for name in ("checkpoint", "checkpoint.pt", "my.ckpt-doctor", stay[1]))


def test_undo_data_is_as_private_as_the_checkpoint(tmp_path):
    """It holds what the checkpoint held."""
    path = make(tmp_path / "checkpoint", "torch-legacy")
    path.chmod(0o600)
    writer.write(*edited(path, "torch-legacy"), {"edits": []}, verify=lambda _: None)
    assert 0o600 == names.undo_file(path).stat().st_mode & 0o777
    content = json.loads(names.undo_file(path).read_bytes())
    assert (sidecar.FORMAT, "checkpoint") == (content["format"], content["file"])
