"""A checkpoint that was unpacked is one file that is not readable, and the printed command makes it readable."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch

from ckpt_doctor import scan
from ckpt_doctor.audit import check
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.reports import judged
from tests.readers.torch_equal import equal
from tests.readers.torch_files import load, save, training


def unpack(folder: Path, value: object) -> Path:
    """The folder in which the records of a checkpoint lie."""
    folder.parent.mkdir(exist_ok=True)
    whole = save(folder.with_name("whole.pt"), value)
    with zipfile.ZipFile(whole) as archive:
        archive.extractall(folder.parent)
    whole.unlink()
    return whole.with_suffix("").rename(folder)


def codes(path: Path) -> set[str]:
    """What a scan says beside notes."""
    return {finding.code for finding in scan([path]).findings if finding.severity != "info"}


@pytest.mark.skipif(shutil.which("zip") is None, reason="needs the zip program")
@pytest.mark.parametrize("value", [training(), {"epoch": 3}], ids=["tensors", "none"])
def test_the_printed_command_packs_it(tmp_path, value):
    """Whatever the folder is called, and without touching a file that has the name already."""
    for name in ("checkpoint", "a b's"):
        unpack(tmp_path / name, value)
        taken = save(tmp_path / f"{name}.pt", {"other": 1}).read_bytes()
        report = scan([tmp_path / name])
        assert ["broken"] == [file.verdict for file in report.files]
        (command,) = re.findall("cure.*: (.*)", judged(report))
        subprocess.run(["sh", "-c", command], check=True, stdout=subprocess.DEVNULL)
        assert taken == (tmp_path / f"{name}.pt").read_bytes()
        packed = tmp_path / f"{name}-packed.pt"
        assert equal(value, load(packed))
        assert [] == [f.code for f in scan([packed]).findings if f.code[0] == "F"]


def test_a_folder_of_records_is_one_checkpoint(tmp_path):
    """One row, not one for each record; what else lies there is still found."""
    folder = unpack(
        tmp_path / "run" / "checkpoint", {**training(), "picks": torch.tensor([0x80, 4], dtype=torch.uint8)}
    )
    (folder / "data" / "7.pt").write_bytes(b"")
    (folder / "best").mkdir()
    save(folder / "best" / "model.pt", {"w": torch.ones(2)})
    found = {file.checkpoint.path.relative_to(folder) for file in scan([tmp_path]).files}
    assert {Path("data.pkl"), Path("best/model.pt")} == found


@pytest.mark.parametrize("asked", [".", "run", "run/checkpoint", "run/checkpoint/data.pkl"])
def test_the_gate_names_it(tmp_path, asked):
    """By the run, by the folder, by its pickle."""
    unpack(tmp_path / "run" / "checkpoint", training())
    assert "F116" in {finding.code for finding in check(tmp_path / asked).findings}


def test_a_pickle_without_its_records_is_not_ok(tmp_path):
    """Alone, under another name, with some records, with short ones, with keys that lead out of the folder."""
    folder = unpack(tmp_path / "checkpoint", {"a": torch.ones(3), "b": torch.ones(4)})
    alone = shutil.copy(folder / "data.pkl", tmp_path / "other.bin")
    assert {"F103"} == codes(alone)
    (folder / "data" / "1").write_bytes(b"short")
    assert {"F103", "F116"} == codes(folder)
    (folder / "data" / "0").unlink()
    assert {"F103"} == codes(folder / "data.pkl")
    assert () == open_checkpoint(save(tmp_path / "whole", {"w": torch.ones(3)})).damage
    outside = (folder / "data.pkl").read_bytes().replace(b"X\x01\x00\x00\x000", b"X\x0a\x00\x00\x00../version")
    (folder / "data.pkl").write_bytes(outside)
    assert {"F103"} == codes(folder / "data.pkl")


def test_other_folders_with_a_data_pkl(tmp_path):
    """A data set's `data.pkl` beside a version and a folder is not a checkpoint's."""
    (tmp_path / "data.pkl").write_bytes(pickle.dumps({"rows": [1, 2]}))
    (tmp_path / "version").write_text("v1.2\n")
    (tmp_path / "data").mkdir()
    save(tmp_path / "data" / "model.pt", {"w": torch.ones(2)})
    assert 2 == len(scan([tmp_path]).files)
    assert set() == codes(tmp_path)


def test_only_safetensors_promises_a_container(tmp_path):
    """Any other suffix may be anything; what is not a checkpoint at all is called that instead."""
    for zipped in (True, False):
        for name in ("model.safetensors", "model.SafeTensors"):
            assert {"F115"} == codes(save(tmp_path / name, {"w": torch.ones(2)}, zipped))
        for name in ("model.bin", "model.pt", "model.h5", "safetensors"):
            assert set() == codes(save(tmp_path / name, {"w": torch.ones(2)}, zipped))
    (tmp_path / "page.safetensors").write_text("<!doctype html>")
    assert {"F105"} == codes(tmp_path / "page.safetensors")
