"""Signs of what happened to a file: its line endings, its byte order, a write that did not finish."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.tensor_bytes import read_scalars
from tests.readers.torch_files import LEGACY, ZIP, rezip, save, training


def test_big_endian(tmp_path):
    """A big-endian file is read in its own order; a wrong `byteorder` record is suspected from the weights."""
    source = save(tmp_path / "a", {"w": torch.randn(64), "step": torch.tensor(12.0)})

    def swapped(name, data):
        if name == "byteorder":
            return b"big"
        return np.frombuffer(data, "<f4").astype(">f4").tobytes() if name.startswith("data/") else data

    honest = open_checkpoint(rezip(source, tmp_path / "b", swapped))
    assert () == honest.damage
    assert [12.0] == read_scalars(honest, honest.tensors[1:2])
    lying = rezip(source, tmp_path / "c", lambda name, data: b"big" if name == "byteorder" else data)
    assert ["byte-order-suspect"] == [d.kind for d in open_checkpoint(lying).damage]
    silent = rezip(source, tmp_path / "d", lambda name, data: None if name == "byteorder" else swapped(name, data))
    assert ["byte-order-suspect"] == [d.kind for d in open_checkpoint(silent).damage]


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
def test_translated_line_endings(tmp_path, zipped):
    """A file that went through a text-mode transfer is named as such, not as a broken archive."""
    raw = save(tmp_path / "a", training(), zipped).read_bytes()
    path = tmp_path / "b"
    path.write_bytes(raw.replace(b"\n", b"\r\n"))
    assert "text-mode-damage" == open_checkpoint(path).damage[0].kind
    path.write_bytes(raw.decode("utf-8", "replace").encode())
    assert "text-mode-damage" == open_checkpoint(path).damage[0].kind


def test_temporary_names(tmp_path):
    """A file under a temporary name is an unfinished write, however whole it is."""
    for name in ("checkpoint.pt.tmp", "model.part", "x.crdownload", "x.pt.filepart", "checkpoint~"):
        assert open_checkpoint(save(tmp_path / name, {})).is_damaged("unfinished-write")
    for name in ("checkpoint", "tmp.pt", "part_2.pth"):
        assert () == open_checkpoint(save(tmp_path / name, {})).damage


def test_a_download_that_its_program_has_not_finished(tmp_path):
    """aria2 gives the file its full length first; a name with no room for a marker has none."""
    (tmp_path / "a.pt.aria2").touch()
    assert open_checkpoint(save(tmp_path / "a.pt", {})).is_damaged("unfinished-write")
    assert () == open_checkpoint(save(tmp_path / ("n" * 250 + ".ckpt"), {})).damage


TEXTS = {
    "CRLF": {"log": "a line\r\n" * 50},
    "LF": {"log": "a line\n" * 500},
    "U+FFFD": {"log": "\ufffd" * 400},
    "bytes without 13": {"w": torch.arange(14, 256, dtype=torch.uint8).repeat(50), "log": "\n\x0b\x0c\x0e" * 40},
}


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
@pytest.mark.parametrize("text", TEXTS)
def test_text_in_a_damaged_file_is_not_damage_done_to_text(tmp_path, text, zipped):
    """Cut, with a record lost or another flaw: what is wrong is said, and salvage is offered."""
    raw = save(tmp_path / "a", {**TEXTS[text], "x": torch.zeros(3)}, zipped).read_bytes()
    (tmp_path / "cut").write_bytes(raw[:-30])
    assert "truncated-archive" == open_checkpoint(tmp_path / "cut").damage[0].kind
    if zipped:
        short = rezip(tmp_path / "a", tmp_path / "b", lambda name, data: data[:-1] if "data/0" in name else data)
        assert "missing-record" == open_checkpoint(short).damage[0].kind


def test_line_endings_of_both_systems_made_one(tmp_path):
    """A text-mode copy that reads every carriage return as a line feed."""
    raw = save(tmp_path / "a", {"w": torch.arange(20_000)}).read_bytes()
    (tmp_path / "b").write_bytes(raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    assert "text-mode-damage" == open_checkpoint(tmp_path / "b").damage[0].kind


def test_a_marker_beside_a_file_says_that_its_save_is_unfinished(tmp_path):
    """Of another suffix it is some other file."""
    for name in ("a-last.ckpt", "a-last.pt"):
        save(tmp_path / name, {"w": torch.zeros(2)})
        assert not open_checkpoint(tmp_path / name).damage
    (tmp_path / "a-last-unfinished").touch()
    assert ["unfinished-write"] == [damage.kind for damage in open_checkpoint(tmp_path / "a-last.ckpt").damage]
    assert not open_checkpoint(tmp_path / "a-last.pt").damage
