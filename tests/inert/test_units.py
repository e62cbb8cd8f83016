"""A checkpoint of several files is one: its tensors and values, and what is checked, compared and shown of them."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.distributed import checkpoint as dcp

from ckpt_doctor.audit import check, scan
from ckpt_doctor.audit.compare import comparable, compare, incomplete
from ckpt_doctor.inert.units import content_of, parts_of, tensors_of
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.deep import deep_check
from ckpt_doctor.readers.folders import open_unit
from ckpt_doctor.reports import inspect, json_v1
from ckpt_doctor.types import Checkpoint, TensorInfo

INDEX = "model.safetensors.index.json"
WEIGHTS = {f"layer.{i}": torch.arange(12.0).view(3, 4) + i for i in range(4)}


def sharded(folder: Path, count: int, weights: dict[str, torch.Tensor] = WEIGHTS) -> Path:
    """Weights in so many files; returns the index."""
    folder.mkdir(exist_ok=True)
    placed = {name: f"model-{i % count + 1:05d}-of-{count:05d}.safetensors" for i, name in enumerate(weights)}
    for file in set(placed.values()):
        save_file({name: weights[name] for name in weights if placed[name] == file}, folder / file)
    index = folder / INDEX
    index.write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return index


def distributed(folder: Path, lr: float = 0.1, weights: dict[str, torch.Tensor] = WEIGHTS) -> Path:
    """The same as a distributed checkpoint, with a rate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": weights, "lr": lr}, checkpoint_id=folder, no_dist=True)
    return folder


def storage_offset(tensor: TensorInfo) -> int:
    """Where a tensor's bytes lie in its file."""
    assert tensor.storage.offset is not None
    return tensor.storage.offset


def overwrite(path: Path, offset: int, raw: bytes) -> None:
    """Change bytes of a file."""
    data = bytearray(path.read_bytes())
    data[offset : offset + len(raw)] = raw
    path.write_bytes(data)


def part_of(unit: Checkpoint, name: str) -> Checkpoint:
    """A part by its name."""
    (part,) = (part for part in unit.parts if part.path.name == name)
    return part


def test_shards_stand_at_one_path_and_other_parts_at_their_own(tmp_path):
    """So the paths of a whole do not depend on how it is cut; the index describes files and is no content."""
    folder = sharded(tmp_path / "a", 2).parent
    torch.save({"lr": 0.1, "moment": torch.ones(2)}, folder / "optimizer.pt")
    unit = open_unit(folder)
    held = {tensor.path: part.path.name for tensor, part in tensors_of(unit)}
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    places = {("model.safetensors", name): (first, second)[i % 2] for i, name in enumerate(WEIGHTS)}
    assert {**places, ("optimizer.pt", "moment"): "optimizer.pt"} == held
    content = content_of(unit)
    assert {"model.safetensors": set(WEIGHTS), "optimizer.pt": {"lr", "moment"}} == {
        k: set(v) for k, v in content.items()
    }


def test_a_single_file_is_its_own_part(tmp_path):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    alone = open_checkpoint(tmp_path / "model.safetensors")
    assert [((), alone)] == list(parts_of(alone))
    assert [(tensor, alone) for tensor in alone.tensors] == tensors_of(alone)
    assert content_of(alone) is alone.root


def test_in_how_many_files_a_model_lies_makes_no_difference(tmp_path):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    two, three = open_unit(sharded(tmp_path / "two", 2)), open_unit(sharded(tmp_path / "three", 3))
    for other in (three, open_checkpoint(tmp_path / "model.safetensors")):
        comparison = compare(two, other, deep=True)
        assert (True, len(WEIGHTS)) == (comparison.same, comparison.unchanged_tensors)
    assert compare(open_unit(tmp_path / "two"), open_unit(tmp_path / "three"), deep=True).same


def test_a_change_in_one_file_is_found_by_the_tensors_name(tmp_path):
    before = open_unit(sharded(tmp_path / "a", 2))
    changed = WEIGHTS | {"layer.2": WEIGHTS["layer.2"] + 1}
    after = open_unit(sharded(tmp_path / "b", 3, changed))
    assert compare(before, after).same
    assert [("layer.2", "bytes")] == [(d.name, d.kind) for d in compare(before, after, deep=True).tensors]


def test_distributed_checkpoints_are_compared_by_values_and_tensors(tmp_path):
    changed = WEIGHTS | {"layer.1": WEIGHTS["layer.1"] * 2}
    a, b = open_unit(distributed(tmp_path / "a")), open_unit(distributed(tmp_path / "b", 0.2, changed))
    comparison = compare(a, b, deep=True)
    assert [("lr", 0.1, 0.2)] == [(d.name, d.left, d.right) for d in comparison.values]
    assert ["model.layer.1"] == [d.name for d in comparison.tensors]
    assert compare(a, open_unit(tmp_path / "a"), deep=True).same


@pytest.mark.parametrize("whole", [True, False], ids=["by-index", "in-folder"])
def test_non_finite_numbers_are_counted_by_the_paths_of_the_whole(tmp_path, whole):
    index = sharded(tmp_path / "a", 2, WEIGHTS | {"layer.3": torch.tensor([1.0, math.nan, math.inf])})
    torch.save({"exp_avg": torch.tensor([math.nan])}, tmp_path / "a" / "optimizer.pt")
    read = []
    unit = deep_check(open_unit(index if whole else tmp_path / "a"), read.append)
    assert unit.deep is not None
    expected = {"layer.3": 2} if whole else {"model.safetensors.layer.3": 2, "optimizer.pt.exp_avg": 1}
    assert (expected, sum(read)) == (unit.deep.non_finite, unit.deep.bytes_read)
    assert all(part.deep is not None for part in unit.parts)


def test_a_flipped_bit_in_a_distributed_checkpoint_is_found(tmp_path):
    folder = distributed(tmp_path / "a")
    unit = open_unit(folder)
    part = part_of(unit, "__0_0.distcp")
    tensor = next(tensor for tensor in part.tensors if tensor.name == "model.layer.2")
    sound = deep_check(unit).deep
    assert sound is not None
    assert ((), frozenset(), ()) == (sound.damage, sound.lost, sound.not_checked)
    overwrite(part.path, storage_offset(tensor) + 3, b"\x7f")
    deep = deep_check(open_unit(folder)).deep
    assert deep is not None
    (damage,) = deep.damage
    assert "corrupt-record" == damage.kind
    assert "model.layer.2" in damage.message
    assert part.path.name in damage.message


def test_what_is_wrong_in_a_part_is_said_once(tmp_path):
    sharded(tmp_path / "a", 2, WEIGHTS | {"layer.3": torch.tensor([math.nan])})
    tensor = next(t for t in part_of(open_unit(distributed(tmp_path / "b")), "__0_0.distcp").tensors)
    overwrite(tmp_path / "b" / "__0_0.distcp", storage_offset(tensor), b"\x7f\x7f")
    report = scan([tmp_path], deep=True)
    assert ["F102", "T801"] == sorted(finding.code for finding in report.findings if finding.severity == "error")


def test_what_a_comparison_lacks_is_told_with_the_part(tmp_path):
    index = sharded(tmp_path / "a", 2)
    file = tmp_path / "a" / "model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    assert [str(index), str(file)] == [line.partition(": ")[0] for line in incomplete(comparable(index))]


def test_a_part_that_changed_meanwhile_is_not_judged(tmp_path):
    unit = open_unit(sharded(tmp_path / "a", 2))
    (tmp_path / "a" / "model-00001-of-00002.safetensors").touch()
    deep = deep_check(unit).deep
    assert deep is not None
    assert any("changed" in note.why for note in deep.not_checked)


def test_the_overview_lists_parts_and_all_tensors(tmp_path):
    index = sharded(tmp_path / "a", 2)
    torch.save({"w": torch.ones(2)}, tmp_path / "other.pt")
    judged = check(index).files[0]
    text = inspect.inspected(judged, "table")
    assert "3 parts" in text
    assert all(name in text for name in (*WEIGHTS, "model-00001-of-00002.safetensors", INDEX))
    content = json.loads(inspect.inspected(judged, "json"))
    assert (len(WEIGHTS), 48) == (content["file"]["tensors"], content["file"]["parameters"])
    assert list(WEIGHTS) == sorted(tensor["name"] for tensor in content["tensors"])
    assert "model-00002-of-00002.safetensors" in inspect.tree(judged.checkpoint)


def test_parameters_are_those_of_the_model(tmp_path):
    folder = tmp_path / "a"
    sharded(folder, 2)
    torch.save({"state": {0: {"exp_avg": torch.ones(99)}}, "param_groups": [{}]}, folder / "optimizer.pt")
    assert 48 == json_v1.parameters(open_unit(folder))
    assert 48 == json_v1.parameters(open_unit(distributed(tmp_path / "b")))


def test_what_reading_a_set_costs_is_its_headers(tmp_path):
    """However large the tensors are."""
    small, large = (
        open_unit(sharded(tmp_path / str(size), 5, {f"w{i}": torch.zeros(size) for i in range(5)}))
        for size in (1 << 15, 1 << 19)
    )
    assert large.size > 10 * small.size
    assert large.bytes_read < 1.01 * small.bytes_read
