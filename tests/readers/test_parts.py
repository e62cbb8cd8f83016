"""The files of a checkpoint of several: no name leads out of its folder."""

from __future__ import annotations

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.folders import open_unit
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
