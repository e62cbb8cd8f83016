"""Every damaged tensor of a file is named, in each format, however many sentences differ in a number alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ckpt_doctor.cli.main import app
from ckpt_doctor.readers import open_checkpoint
from tests.readers.torch_files import rezip

FORMATS = ("table", "markdown", "html", "github", "sarif", "json")


def layers(folder: Path, count: int = 16, name: str = "last.pt") -> Path:
    weights = {f"layers.{i}.weight": torch.randn(4, 4) for i in range(count)}
    torch.save({"epoch": 1, "model_state_dict": weights}, folder / name)
    return folder / name


def flipped(path: Path, names: list[str]) -> Path:
    raw = bytearray(path.read_bytes())
    for tensor in open_checkpoint(path).tensors:
        if tensor.name in names:
            raw[tensor.storage.offset + 5] ^= 0x40
    path.write_bytes(raw)
    return path


def whole(path: Path) -> Path:
    return path.rename(path.with_suffix(".whole"))


def without(path: Path, names: list[str]) -> Path:
    records = {f"data/{t.storage.key}" for t in open_checkpoint(path).tensors if t.name in names}
    return rezip(whole(path), path, lambda name, data: None if name in records else data)


def too_short(path: Path, names: list[str]) -> Path:
    records = {f"data/{t.storage.key}" for t in open_checkpoint(path).tensors if t.name in names}
    return rezip(whole(path), path, lambda name, data: data[:-4] if name in records else data)


def printed(*words: object) -> str:
    output = CliRunner().invoke(app, [str(word) for word in words]).stdout
    return " ".join(output.split())


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("damage", [flipped, without, too_short])
@pytest.mark.parametrize("count", [2, 3, 12])
def test_all_are_named(tmp_path, damage, form, count):
    names = [f"model_state_dict.layers.{i}.weight" for i in range(count)]
    path = damage(layers(tmp_path), names)
    shown = printed("scan", "--deep", "--format", form, path)
    assert [] == [name for name in names if name not in shown]
    assert f"layers.{count}.weight" not in shown


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_of_very_many_the_rest_is_counted(tmp_path, form):
    path = flipped(layers(tmp_path, 40), [f"model_state_dict.layers.{i}.weight" for i in range(30)])
    shown = printed("scan", "--deep", "--format", form, path)
    answered = form != "markdown"
    found = re.findall(r"F102\W+corrupt-record", re.sub("<section id=.manual.*", "", shown, flags=re.S))
    assert 1 == len(found) - answered
    assert "and 17 more" in shown


def test_each_of_several_files_names_its_own(tmp_path):
    first, second = layers(tmp_path, name="a.pt"), layers(tmp_path, name="b.pt")
    flipped(first, ["model_state_dict.layers.1.weight"])
    flipped(second, ["model_state_dict.layers.2.weight", "model_state_dict.layers.3.weight"])
    shown = printed("scan", "--deep", tmp_path)
    assert "F102 corrupt-record (a.pt)" in shown
    assert "F102 corrupt-record (b.pt)" in shown
    assert all(f"layers.{i}.weight" in shown for i in (1, 2, 3))


def test_tensors_that_share_a_record_are_all_named(tmp_path):
    base = torch.arange(8.0)
    torch.save({"model": {"tied.0": base[:4], "tied.1": base[4:], "own": torch.ones(3)}}, tmp_path / "a.pt")
    path = flipped(tmp_path / "a.pt", ["model.tied.0"])
    assert "tensors model.tied.0, model.tied.1 are not what was saved" in printed("scan", "--deep", path)


def test_a_name_that_is_a_part_of_the_sentence_is_told_all_the_same(tmp_path):
    torch.save({"b": torch.ones(3), "w": torch.ones(3)}, tmp_path / "a.pt")
    assert "(tensor b)" in printed("scan", too_short(tmp_path / "a.pt", ["b"]))


def test_a_file_with_several_gets_its_cure_once(tmp_path):
    path = without(layers(tmp_path), ["model_state_dict.layers.1.weight", "model_state_dict.layers.2.weight"])
    assert 1 == printed("scan", path).count("ckpt-doctor salvage")


def test_several_corrupt_records_name_the_usual_cause_and_one_does_not(tmp_path):
    one, two = layers(tmp_path, name="one.pt"), layers(tmp_path, name="two.pt")
    flipped(one, ["model_state_dict.layers.1.weight"])
    flipped(two, ["model_state_dict.layers.1.weight", "model_state_dict.layers.2.weight"])
    assert "several processes" not in printed("scan", "--deep", one)
    assert "several processes saved to this path at the same time" in printed("scan", "--deep", two)


def test_salvage_is_offered_only_where_something_is_whole(tmp_path):
    path = layers(tmp_path, 2)
    offered = "ckpt-doctor salvage FILE -o OUT"
    for names, fix in ((["layers.0.weight"], offered), (["layers.0.weight", "layers.1.weight"], None)):
        damaged = flipped(layers(tmp_path, 2), [f"model_state_dict.{name}" for name in names])
        found = json.loads(printed("scan", "--deep", "--format", "json", damaged))["files"][0]["findings"]
        assert {fix} == {f["fix"] for f in found if f["code"] == "F102"}
    assert path.exists()
