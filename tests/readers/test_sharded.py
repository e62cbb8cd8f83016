"""A model in several files: what its index names is there, whole, and holds what it says."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file, save_model
from torch import nn

from ckpt_doctor.readers.folders import open_unit
from ckpt_doctor.readers.sets import set_of
from ckpt_doctor.types import mapping_of
from tests.readers.set_files import INDEX, WEIGHTS, change_index, told, write_sharded


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("model-{i:05d}-of-{n:05d}.safetensors", INDEX),
        ("pytorch_model-{i:05d}-of-{n:05d}.bin", "pytorch_model.bin.index.json"),
        ("model.fp16-{i:05d}-of-{n:05d}.safetensors", "model.safetensors.index.fp16.json"),
        ("model-{i:05d}-of-{n:05d}.fp16.safetensors", "model.safetensors.index.fp16.json"),
        ("part{i}of{n}.safetensors", INDEX),
    ],
)
def test_a_whole_set_is_one_and_whole(tmp_path, name, index):
    files = [path.name for path in write_sharded(tmp_path, name=name, index=index)]
    (found,) = set_of(tmp_path, [path.name for path in tmp_path.iterdir()])
    assert ({index, *files}, tmp_path / index) == (set(found.files), found.path)
    for path in (tmp_path, tmp_path / index):
        unit = open_unit(path)
        assert ((), (), "state-dict") == (unit.damage, unit.not_checked, unit.layout)
        assert {index, *files} == set(mapping_of(unit.root) or ())


@pytest.mark.parametrize("where", [".", INDEX])
def test_a_missing_file_is_named_with_its_index(tmp_path, where):
    write_sharded(tmp_path)[1].unlink()
    (damage,) = open_unit(tmp_path / where).damage
    assert ("missing-part", "model-00002-of-00003.safetensors") == (damage.kind, damage.where)
    assert INDEX in damage.message
    assert "layer.2.weight" in damage.message


def test_a_file_that_was_cut_is_too_short(tmp_path):
    file = write_sharded(tmp_path)[2]
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-10])
    (damage,) = open_unit(tmp_path / INDEX).damage
    assert (file.name, size - 10, size) == (damage.where, damage.found, damage.expected)


def test_a_tensor_that_is_nowhere_is_missed_in_its_file(tmp_path):
    write_sharded(tmp_path)
    change_index(tmp_path, lambda index: index["weight_map"].update({"head": "model-00001-of-00003.safetensors"}))
    (damage,) = open_unit(tmp_path).damage
    assert ("missing-part", "model-00001-of-00003.safetensors") == (damage.kind, damage.where)
    assert "head" in damage.message


def test_a_tensor_in_another_file_and_a_wrong_total_are_notes(tmp_path):
    write_sharded(tmp_path)
    change_index(
        tmp_path, lambda index: index["weight_map"].update({"layer.0.weight": "model-00002-of-00003.safetensors"})
    )
    assert ([], [INDEX]) == (told(open_unit(tmp_path)), told(open_unit(tmp_path), "stale-index"))
    write_sharded(tmp_path)
    change_index(tmp_path, lambda index: index["metadata"].update(total_size=10**6))
    assert ([], [INDEX]) == (told(open_unit(tmp_path)), told(open_unit(tmp_path), "stale-index"))


def test_the_other_name_of_a_shared_tensor_is_not_missed(tmp_path):
    """Of tied weights safetensors keeps one, and the other's name as metadata; converters keep both in the index."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.head.weight = self.embed.weight

    file = "model-00001-of-00001.safetensors"
    save_model(Tied(), str(tmp_path / file))
    index = {"metadata": {"total_size": 72}, "weight_map": {"embed.weight": file, "head.weight": file}}
    (tmp_path / INDEX).write_text(json.dumps(index))
    assert () == open_unit(tmp_path).damage


def test_an_optimizer_has_numbers_for_names(tmp_path):
    """ColossalAI's index places each parameter's state by its number."""
    write_sharded(tmp_path)
    torch.save({0: {"exp_avg": torch.ones(2)}}, tmp_path / "optim-00001-of-00001.bin")
    placed = {"0": "optim-00001-of-00001.bin"}
    (tmp_path / "optim.bin.index.json").write_text(json.dumps({"weight_map": placed}))
    assert [] == told(open_unit(tmp_path))
    (tmp_path / "optim.bin.index.json").write_text(json.dumps({"weight_map": placed | {"1": placed["0"]}}))
    assert ["optim-00001-of-00001.bin"] == told(open_unit(tmp_path))


def test_a_left_over_index_is_a_note_beside_other_weights_only(tmp_path):
    for file in write_sharded(tmp_path):
        file.unlink()
    assert 3 == len(told(open_unit(tmp_path / INDEX)))
    optimizer = {"state": {}, "param_groups": [{"lr": 1.0}]}
    torch.save(optimizer, tmp_path / "optimizer.pt")
    assert 3 == len(told(open_unit(tmp_path)))
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    for path in (tmp_path, tmp_path / INDEX):
        assert ([], [INDEX]) == (told(open_unit(path)), told(open_unit(path), "stale-index"))
    (tmp_path / "model.safetensors").unlink()
    bins = write_sharded(tmp_path, name="pytorch_model-{i}-of-{n}.bin", index="pytorch_model.bin.index.json")
    assert ([], [INDEX]) == (told(open_unit(tmp_path)), told(open_unit(tmp_path), "stale-index"))
    bins[0].unlink()
    assert {bins[0].name, "model-00001-of-00003.safetensors"} < set(told(open_unit(tmp_path)))


def test_numbered_files_without_an_index_lack_a_number(tmp_path):
    files = write_sharded(tmp_path)
    (tmp_path / INDEX).unlink()
    whole = open_unit(tmp_path)
    assert ((), 1) == (whole.damage, len(whole.not_checked))
    files[0].unlink()
    (found,) = set_of(tmp_path, [path.name for path in tmp_path.iterdir()])
    assert [files[0].name] == told(open_unit(found.path))
    files[1].unlink()
    files[2].rename(tmp_path / "model-00001-of-00001.safetensors")
    assert [] == set_of(tmp_path, [path.name for path in tmp_path.iterdir()])


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1, "b": null, "c": []}}', '{"weight_map": {}}']
)
def test_an_index_that_names_nothing_is_told(tmp_path, content):
    (tmp_path / INDEX).write_text(content)
    assert [INDEX] == told(open_unit(tmp_path / INDEX))


def test_of_an_index_that_cannot_be_read_nothing_is_said(tmp_path):
    write_sharded(tmp_path)
    (tmp_path / INDEX).write_text('{"weight_map": {')
    unit = open_unit(tmp_path)
    assert ((), 1) == (unit.damage, len(unit.not_checked))


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.text(), st.none() | st.integers() | st.text(st.characters()) | st.just("a/../x") | st.just("x" * 300)
    )
)
def test_an_index_may_name_anything(tmp_path, placed):
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": placed}))
    files = {file for file in placed.values() if isinstance(file, str) and file}
    assert max(1, len(files)) == len(told(open_unit(tmp_path / INDEX)))


def test_very_many_missing_files_are_summed_up(tmp_path):
    index = {"weight_map": {f"w{i}": f"file-{i}.safetensors" for i in range(5000)}}
    (tmp_path / INDEX).write_text(json.dumps(index))
    assert 100 < len(open_unit(tmp_path / INDEX).damage) < 110
