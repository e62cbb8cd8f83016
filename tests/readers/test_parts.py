"""The files of a checkpoint of several: no name leads out of its folder."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from ckpt_doctor.inert import limits
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.folders import open_unit
from ckpt_doctor.readers.part_names import is_part_name
from ckpt_doctor.readers.parts import Findings, Parts, is_inside, missing_part
from tests.readers.set_files import told


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
        assert 1 == len(told(open_unit(path))), path
    assert opened
    assert all(os.path.realpath(path).startswith(os.path.realpath(folder) + "/") for path in opened)


def test_a_folder_link_leads_out_as_well(folder, tmp_path):
    (tmp_path / "other").mkdir()
    save_file({"w": torch.ones(1)}, tmp_path / "other" / "x.safetensors")
    (folder / "sub").symlink_to("../other")
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "sub/x.safetensors"}}))
    assert ["sub/x.safetensors"] == told(open_unit(index))


@pytest.mark.parametrize("name", ["a.bin", "sub/a.bin", "..a", "a..b/c", "é.pt"])
def test_a_name_in_the_folder_or_below_is_inside(name):
    assert is_inside(name)


@pytest.mark.parametrize(
    "name",
    ["", "/a", "../a", "a/../b", "a\\..\\b", "C:a", "\\\\host\\a", "\\a", "a\0b", "\ud800", None, 3, ["a"]],
)
def test_a_name_that_leads_out_on_any_system_is_not(name):
    assert not is_inside(name)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("optimizer.pt", True),
        ("MODEL.CKPT", True),
        ("pytorch_model.bin", True),
        ("trainer_state.json", True),
        ("latest", True),
        ("model.safetensors.index.json", True),
        ("config.json", False),
        ("tokenizer.bin", False),
        ("notes.txt", False),
    ],
)
def test_which_files_are_read_as_parts(name, is_one):
    assert is_one == is_part_name(name)


def test_a_part_is_opened_once_when_it_is_asked_for(folder):
    parts = Parts(folder)
    first = parts.open("optimizer.pt")
    assert first is not None and parts.open("optimizer.pt") is first
    assert parts.open("absent.pt") is None and not parts.has("absent.pt")


def test_why_there_is_no_such_file_ends_a_sentence(folder):
    (folder / "dangling").symlink_to("nowhere")
    (folder / "sub").mkdir()
    parts = Parts(folder)
    assert (folder / "config.json").stat().st_size == parts.size("config.json")
    assert {
        "absent": "is not there",
        "dangling": "is a link that leads nowhere",
        "sub": "is a folder",
        "config.json/x": "cannot be reached (Not a directory)",
        "../x": "lies outside of the checkpoint and was not opened",
    } == {name: parts.size(name) for name in ("absent", "dangling", "sub", "config.json/x", "../x")}


def test_very_many_missing_parts_have_a_summary_with_their_number():
    findings = Findings()
    findings.lacks(missing_part(f"{i}.bin", "is not there", "the index") for i in range(limits.MAX_DAMAGE + 7))
    assert limits.MAX_DAMAGE + 1 == len(findings.damage)
    assert findings.damage[-1].message.startswith("7 more")
