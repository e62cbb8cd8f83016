"""A checkpoint that is a folder is read as one: its parts, what belongs to it, and what stands in a part's place."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ckpt_doctor.inert import limits
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.folders import open_unit
from ckpt_doctor.types import Checkpoint

PARTS = ["model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A checkpoint as a trainer saves it, with files that are none of its parts."""
    path = tmp_path / "checkpoint-7"
    path.mkdir()
    save_file({"w": torch.ones(2, 2)}, path / "model.safetensors")
    torch.save({"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"lr": 0.1}]}, path / "optimizer.pt")
    torch.save({"last_epoch": 7}, path / "scheduler.pt")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": 7}))
    (path / "config.json").write_text("{}")
    (path / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>")
    return path


def names(unit: Checkpoint) -> list[str]:
    """The parts that were read."""
    assert isinstance(unit.root, dict)
    return sorted(unit.root)


def missing(unit: Checkpoint) -> list[str]:
    """The places of the missing parts."""
    return sorted(damage.where for damage in unit.damage if damage.kind == "missing-part")


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


def test_other_checkpoints_inside_are_none_of_its_parts(folder):
    for name in ("checkpoint-3", "step_4", "epoch=1-step=5.ckpt", "best"):
        (folder / name).mkdir()
        torch.save({"w": torch.ones(1)}, folder / name / "model.pt")
    (folder / "best" / "trainer_state.json").write_text("{}")
    (folder / ".git").mkdir()
    torch.save({"w": torch.ones(1)}, folder / ".git" / "model.pt")
    (folder / "unet").mkdir()
    save_file({"v": torch.ones(1)}, folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert [*PARTS, "unet/diffusion_pytorch_model.safetensors"] == names(open_unit(folder))


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


@pytest.mark.parametrize(
    "replace",
    [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere"), lambda path: path.symlink_to(path.name)],
    ids=["folder", "pipe", "dangling", "loop"],
)
@pytest.mark.parametrize("name", ["model.safetensors", "trainer_state.json"])
def test_what_stands_in_the_place_of_a_part_is_named(folder, name, replace: Callable[[Path], object]):
    (folder / name).unlink()
    replace(folder / name)
    unit = open_unit(folder)
    assert ([name], sorted(set(PARTS) - {name})) == (missing(unit), names(unit))


def test_links_to_files_are_followed(folder, tmp_path):
    """The cache of a hub holds links to blobs elsewhere."""
    (folder / "model.safetensors").rename(tmp_path / "blob")
    (folder / "model.safetensors").symlink_to("../blob")
    unit = open_unit(folder)
    assert (PARTS, (), ("model.safetensors",)) == (names(unit), unit.damage, unit.metadata["links"])


def test_links_to_folders_are_told_and_not_followed(folder):
    (folder / "loop").symlink_to(".")
    unit = open_unit(folder)
    assert (PARTS, 1) == (names(unit), len(unit.not_checked))


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "sub/../../outside.safetensors", "C:\\x", "a\0b"]
)
def test_a_name_that_leads_out_is_a_finding_and_is_not_opened(folder, tmp_path, monkeypatch, name):
    save_file({"w": torch.ones(1)}, tmp_path / "outside.safetensors")
    (folder / "sub").mkdir()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": name}}))
    opened = []
    begin = FileView.__init__
    monkeypatch.setattr(FileView, "__init__", lambda view, path: (opened.append(path), begin(view, path))[1])
    for path in (folder, index):
        (folder / "model.safetensors").unlink(missing_ok=True)
        assert 1 == len(missing(open_unit(path))), path
    assert opened
    assert all(os.path.realpath(path).startswith(os.path.realpath(folder) + "/") for path in opened)


def test_what_has_no_parts_name_is_passed_over(folder):
    """A socket, a link that a copy has left without its target; checkpoints of Lightning that are folders."""
    os.mkfifo(folder / "socket")
    (folder / "latest-run").symlink_to("run-2024")
    (folder / "last.ckpt").mkdir()
    unit = open_unit(folder)
    assert (PARTS, (), ()) == (names(unit), unit.damage, unit.not_checked)
    (folder / "best.ckpt").symlink_to("nowhere.ckpt")
    assert ["best.ckpt"] == missing(open_unit(folder))


def test_a_folder_link_leads_out_as_well(folder, tmp_path):
    (tmp_path / "other").mkdir()
    save_file({"w": torch.ones(1)}, tmp_path / "other" / "x.safetensors")
    (folder / "sub").symlink_to("../other")
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "sub/x.safetensors"}}))
    assert ["sub/x.safetensors"] == missing(open_unit(index))


def test_the_listing_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(limits, "MAX_UNIT_FILES", 2)
    unit = open_unit(folder)
    assert ([], 1) == (names(unit), len(unit.not_checked))


def test_a_file_is_read_as_a_file(folder):
    assert "torch-zip" == open_unit(folder / "optimizer.pt").container
    assert ["unreadable-file"] == [damage.kind for damage in open_unit(folder / "absent").damage]
    assert ["unreadable-file"] == [damage.kind for damage in open_unit(folder / "no" / "folder").damage]


def test_binary_files_that_are_no_checkpoints_are_no_parts(folder):
    for name in ("openvino_model.bin", "tokenizer.bin", "vocab.txt", "events.out.tfevents.1"):
        (folder / name).write_bytes(b"\x01\x02\x03\xff" * 9)
    assert PARTS == names(open_unit(folder))
    (folder / "pytorch_model.bin").write_bytes(b"\x01\x02\x03\xff" * 9)
    assert [*PARTS[:2], "pytorch_model.bin", *PARTS[2:]] == names(open_unit(folder))
