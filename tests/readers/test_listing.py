"""The files of a checkpoint's folder: which belong to it, and what is in the place of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ckpt_doctor.inert import limits
from ckpt_doctor.readers.folders import open_unit
from tests.readers.set_files import PARTS, names, told


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
    assert ([name], sorted(set(PARTS) - {name})) == (told(unit), names(unit))


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


def test_what_has_no_parts_name_is_passed_over(folder):
    """A socket, a link that a copy has left without its target; checkpoints of Lightning that are folders."""
    os.mkfifo(folder / "socket")
    (folder / "latest-run").symlink_to("run-2024")
    (folder / "last.ckpt").mkdir()
    unit = open_unit(folder)
    assert (PARTS, (), ()) == (names(unit), unit.damage, unit.not_checked)
    (folder / "best.ckpt").symlink_to("nowhere.ckpt")
    assert ["best.ckpt"] == told(open_unit(folder))


def test_the_listing_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(limits, "MAX_UNIT_FILES", 2)
    unit = open_unit(folder)
    assert ([], 1) == (names(unit), len(unit.not_checked))


def test_binary_files_that_are_no_checkpoints_are_no_parts(folder):
    for name in ("openvino_model.bin", "tokenizer.bin", "vocab.txt", "events.out.tfevents.1"):
        (folder / name).write_bytes(b"\x01\x02\x03\xff" * 9)
    assert PARTS == names(open_unit(folder))
    (folder / "pytorch_model.bin").write_bytes(b"\x01\x02\x03\xff" * 9)
    assert [*PARTS[:2], "pytorch_model.bin", *PARTS[2:]] == names(open_unit(folder))
