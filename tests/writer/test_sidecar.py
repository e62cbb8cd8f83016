"""The undo file beside a stream or tar file: checked before it is followed, and never written over."""

import json

import pytest
import torch

from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.writer import sidecar
from tests.writer.sample_files import ALL, SOME, accept, codes, edited, flipped, litter, load, make, migrated


def test_the_records_of_other_containers_stay_beside_the_file(tmp_path):
    """`history` gives them oldest first, for as long as the file is the one that was migrated."""
    path = make(tmp_path / "checkpoint", "torch-legacy")
    assert [] == writer.history(path)
    for version in ("1", "2"):
        writer.write(*edited(path, "torch-legacy"), {"tool_version": version, "edits": []}, verify=accept)
    assert ["1", "2"] == [record["tool_version"] for record in writer.history(path)]
    make(path, "torch-legacy")
    assert [] == writer.history(path)


def test_undo_data_of_a_migration_that_never_came_to_be_is_dropped(tmp_path):
    """A kill between undo data and rename: the file is the old one, and the earlier generations still lead back."""
    path = make(tmp_path / "checkpoint", "torch-legacy")
    original = path.read_bytes()
    writer.write(*edited(path, "torch-legacy", "first"), {"edits": []}, verify=lambda _: None)
    once = path.read_bytes()
    writer.write(*edited(path, "torch-legacy", "second"), {"edits": []}, verify=lambda _: None)
    path.write_bytes(once)
    assert 1 == len(writer.history(path))
    assert "cleaned" == writer.recover(path)
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


def test_undo_data_is_as_private_as_the_checkpoint(tmp_path):
    """It holds what the checkpoint held."""
    path = make(tmp_path / "checkpoint", "torch-legacy")
    path.chmod(0o600)
    writer.write(*edited(path, "torch-legacy"), {"edits": []}, verify=lambda _: None)
    assert 0o600 == names.undo_file(path).stat().st_mode & 0o777
    content = json.loads(names.undo_file(path).read_bytes())
    assert (sidecar.FORMAT, "checkpoint") == (content["format"], content["file"])


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
