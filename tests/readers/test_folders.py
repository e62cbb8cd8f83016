"""A checkpoint that is a folder is read as one: its parts, what belongs to it, and what stands in a part's place."""

from __future__ import annotations

import shutil

import pytest
import torch

from ckpt_doctor.readers import folders, open_checkpoint
from ckpt_doctor.readers.folders import open_unit
from ckpt_doctor.readers.listing import listing
from tests.readers.set_files import PARTS, names


def test_a_folder_is_one_checkpoint(folder):
    unit = open_unit(folder)
    assert ("folder", "training", PARTS) == (unit.container, unit.layout, names(unit))
    assert (0.1, 7) == (
        unit.get("optimizer.pt", "param_groups", 0, "lr"),
        unit.get("trainer_state.json", "global_step"),
    )
    assert sum((folder / name).stat().st_size for name in PARTS) == unit.size
    assert {path.name: path.stat().st_size for path in folder.iterdir()} == unit.metadata["files"]
    assert (0, None, (), ()) == (len(unit.tensors), unit.program, unit.damage, unit.not_checked)
    assert sum(part.bytes_read for part in unit.parts) == unit.bytes_read > 0


def test_parts_are_read_as_files_are(folder):
    for part in open_unit(folder).parts:
        if part.container != "json":
            alone = open_checkpoint(part.path)
            assert (alone.damage, alone.layout, alone.tensors) == (part.damage, part.layout, part.tensors)


def test_damage_of_a_part_is_its_own(folder):
    (folder / "trainer_state.json").write_text('{"global_step": 7')
    (folder / "optimizer.pt").write_bytes(b"\xfe\xdc" * 100)
    unit = open_unit(folder)
    damaged = {part.path.name: part.damage[0].kind for part in unit.parts if part.damage}
    assert {"optimizer.pt": "not-a-checkpoint", "trainer_state.json": "truncated-archive"} == damaged
    assert () == unit.damage


def test_weights_alone_are_no_training(folder):
    for name in PARTS[1:]:
        (folder / name).unlink()
    assert "state-dict" == open_unit(folder).layout


def test_of_several_tags_the_marker_names_the_one_that_belongs(folder):
    for step in (5, 7):
        (folder / f"global_step{step}").mkdir()
        torch.save({"module": {}}, folder / f"global_step{step}" / "mp_rank_00_model_states.pt")
    assert PARTS == names(open_unit(folder))
    (folder / "latest").write_text("global_step7\n")
    unit = open_unit(folder)
    assert {"latest", "global_step7/mp_rank_00_model_states.pt"} == set(names(unit)) - set(PARTS)
    assert "global_step7" == unit.get("latest")
    by_marker = open_unit(folder / "latest")
    assert ["global_step7/mp_rank_00_model_states.pt", "latest"] == names(by_marker)
    assert folder / "latest" == by_marker.path


def test_a_checkpoint_with_the_name_of_a_marker_is_read(folder):
    torch.save({"w": torch.ones(1)}, folder / "latest")
    assert "latest" in names(open_unit(folder))
    assert "torch-zip" == open_unit(folder / "latest").container


def test_a_file_is_read_as_a_file(folder):
    assert "torch-zip" == open_unit(folder / "optimizer.pt").container
    assert ["vanished-file"] == [damage.kind for damage in open_unit(folder / "absent").damage]
    assert ["vanished-file"] == [damage.kind for damage in open_unit(folder / "no" / "folder").damage]


@pytest.mark.parametrize("gone", ["optimizer.pt", "trainer_state.json", "."])
def test_a_folder_that_is_deleted_meanwhile_has_vanished_and_lacks_no_part(folder, monkeypatch, gone):
    def then_deleted(*given, **more):
        found = listing(*given, **more)
        (folder / gone).unlink() if gone != "." else shutil.rmtree(folder)
        return found

    monkeypatch.setattr(folders, "listing", then_deleted)
    assert ["vanished-file"] == [damage.kind for damage in open_unit(folder).damage]


def test_a_file_beside_the_parts_may_go_meanwhile(folder, monkeypatch):
    """A program's temporary file: the checkpoint is whole."""
    (folder / "notes.tmp").write_text("soon gone")

    def then_deleted(*given, **more):
        found = listing(*given, **more)
        (folder / "notes.tmp").unlink()
        return found

    monkeypatch.setattr(folders, "listing", then_deleted)
    assert PARTS == names(open_unit(folder))
