"""A checkpoint of torch.distributed.checkpoint: read by its metadata, which leads nowhere else."""

from __future__ import annotations

import pickle
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex

from ckpt_doctor import scan
from ckpt_doctor.inert.units import content_of, tensors_of
from ckpt_doctor.readers.folders import open_unit
from ckpt_doctor.readers.sets import set_of
from tests.readers.set_files import told


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A checkpoint of torch.distributed.checkpoint."""
    folder = tmp_path_factory.mktemp("dcp") / "step-20"
    model = nn.Linear(4, 3)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "note": {"text": "x"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder


@pytest.fixture
def distributed(saved, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(saved, tmp_path / "step-20"))


def test_a_distributed_checkpoint_is_read_by_its_names(distributed):
    unit = open_unit(distributed)
    assert ((), (), "training") == (unit.damage, unit.not_checked, unit.layout)
    assert [()] == list({part.not_checked for part in unit.parts})
    content = content_of(unit)
    assert isinstance(content, dict)
    assert (3, "x", 1e-3) == (content["epoch"], content["note.text"], content["optimizer.param_groups.0.lr"])
    shapes = {tensor.name: tensor.shape for tensor, _ in tensors_of(unit)}
    assert ((3, 4), (3,), ()) == tuple(
        shapes[name] for name in ("model.weight", "optimizer.state.1.exp_avg", "optimizer.state.0.step")
    )


def test_a_file_that_the_metadata_names_is_missing_or_short(distributed):
    file = distributed / "__0_0.distcp"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1000])
    (damage,) = open_unit(distributed).damage
    assert ("__0_0.distcp", size - 1000, size) == (damage.where, damage.found, damage.expected)
    file.rename(distributed / "__1_0.distcp")
    (damage,) = open_unit(distributed).damage
    assert "__0_0.distcp" == damage.where
    assert ".metadata" in damage.message


@pytest.mark.parametrize(("content", "code"), [(b"<!DOCTYPE html><html></html>", "F105"), (b"", "F104")])
def test_a_part_that_is_something_else_is_told_once(distributed, content, code):
    (distributed / "__0_0.distcp").write_bytes(content)
    assert [code] == [found.code for found in scan([distributed]).findings]


def test_without_metadata_the_save_was_cut_off(distributed):
    (distributed / ".metadata").rename(distributed / ".metadata.tmp")
    assert [".metadata"] == told(open_unit(distributed))


def test_metadata_whose_files_are_all_gone_is_known(distributed):
    (distributed / "__0_0.distcp").unlink()
    (found,) = set_of(distributed, [".metadata"])
    assert ("distributed", distributed) == (found.kind, found.path)
    assert ["__0_0.distcp"] == told(open_unit(distributed))
    (distributed / ".metadata").write_text("something else")
    assert [] == set_of(distributed, [".metadata"])


def test_where_each_rank_describes_its_own_files_all_must(distributed):
    (distributed / ".metadata").unlink()
    whole = (distributed / "__0_0.distcp").read_bytes()
    for rank in range(3):
        (distributed / f"__{rank}_0.distcp").write_bytes(whole)
        placed = {MetadataIndex("w"): _StorageInfo(f"__{rank}_0.distcp", 0, len(whole))}
        (distributed / f"__{rank}.metadata").write_bytes(pickle.dumps(Metadata({}, storage_data=placed)))
    assert () == open_unit(distributed).damage
    (distributed / "__2.metadata").unlink()
    assert ["__2.metadata"] == told(open_unit(distributed))
    (distributed / "__1.metadata").unlink()
    (distributed / "__1_0.distcp").unlink()
    assert ["__1.metadata", "__2.metadata"] == told(open_unit(distributed))


def write_metadata(folder: Path, places: Sequence[tuple[MetadataIndex, _StorageInfo]]) -> None:
    """Metadata that places values."""
    (folder / ".metadata").write_bytes(pickle.dumps(Metadata({}, storage_data=dict(places))))


def test_parts_of_one_tensor_have_their_place_in_their_names(distributed):
    begins = list(open_unit(distributed).parts[1].root or ())
    first, second = (tensor.path[0] for tensor, _ in tensors_of(open_unit(distributed)) if "model" in tensor.name)
    assert {"model.weight", "model.bias"} == {first, second} <= set(begins)
    offsets = [int(key.partition("/")[0]) for key in open_unit(distributed).parts[1].checksums]
    places = [
        (MetadataIndex("w", torch.Size([row, 0])), _StorageInfo("__0_0.distcp", at, 10))
        for row, at in ((0, offsets[0]), (2, offsets[1]))
    ]
    write_metadata(distributed, places)
    named = {tensor.name for tensor, _ in tensors_of(open_unit(distributed))}
    assert {"w[0, 0]", "w[2, 0]"} < named


@pytest.mark.parametrize("name", ["../x.distcp", "/etc/passwd", "a/../../x"])
def test_metadata_leads_nowhere_else(distributed, name):
    write_metadata(distributed, [(MetadataIndex("w"), _StorageInfo(name, 0, 10))])
    (damage,) = open_unit(distributed).damage
    assert "not opened" in damage.message


@pytest.mark.parametrize("content", [None, 3, {"a": 1}, Metadata({}), Metadata({}, storage_data={"a": "b"})])
def test_metadata_of_any_kind_is_survived(distributed, content):
    (distributed / ".metadata").write_bytes(pickle.dumps(content))
    unit = open_unit(distributed)
    assert [] == told(unit)
    assert 2 == len(unit.parts)


class Endless:
    """Pickled as an index whose name is a list of lists of lists, each twice: as text it would fill any memory."""

    def __reduce__(self) -> tuple:
        name: list = []
        for _ in range(100):
            name = [name, name]
        return MetadataIndex, ("w",), {"fqn": name, "offset": name}


def test_values_that_no_save_writes_cost_nothing(distributed):
    places = {
        Endless(): _StorageInfo("__0_0.distcp", 0, 10),
        Endless(): _StorageInfo("__0_0.distcp", 10, 10),
        MetadataIndex("v"): _StorageInfo("__0_0.distcp", 10**10_000, -5),
    }
    (distributed / ".metadata").write_bytes(pickle.dumps(Metadata({}, storage_data=places)))
    assert [] == told(open_unit(distributed))


def test_a_sharded_optimizer_without_its_model_is_told(distributed, tmp_path):
    unit = tmp_path / "checkpoint-7"
    shutil.copytree(distributed, unit / "optimizer_0")
    assert ["pytorch_model_fsdp_0"] == told(open_unit(unit))
    shutil.copytree(distributed, unit / "pytorch_model_fsdp_0")
    assert [] == told(open_unit(unit))
    (unit / "pytorch_model_fsdp_0" / "__0_0.distcp").unlink()
    assert ["pytorch_model_fsdp_0/__0_0.distcp"] == told(open_unit(unit))
