"""Sets of files are recognised by their names, and what one lacks is told with what calls for it (F114)."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file, save_model
from torch import nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex

from ckpt_doctor.inert.units import content_of, tensors_of
from ckpt_doctor.readers.folders import open_unit
from ckpt_doctor.readers.sets import set_of
from ckpt_doctor.types import Checkpoint, mapping_of

INDEX = "model.safetensors.index.json"
WEIGHTS = {f"layer.{i}.weight": torch.full((4, 4), float(i)) for i in range(6)}


def write_sharded(
    folder: Path, count: int = 3, *, name: str = "model-{i:05d}-of-{n:05d}.safetensors", index: str = INDEX
) -> list[Path]:
    """`WEIGHTS` in so many files, with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    items, placed = list(WEIGHTS.items()), {}
    for i in range(count):
        file = name.format(i=i + 1, n=count)
        part = dict(items[i * len(items) // count : (i + 1) * len(items) // count])
        save = save_file if file.endswith(".safetensors") else torch.save
        save(part, folder / file)
        placed |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in WEIGHTS.values())
    (folder / index).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": placed}))
    return sorted(folder / file for file in set(placed.values()))


def change_index(folder: Path, change: Callable[[dict], object], index: str = INDEX) -> None:
    """Edit an index in place."""
    content = json.loads((folder / index).read_text())
    change(content)
    (folder / index).write_text(json.dumps(content))


def told(unit: Checkpoint, kind: str = "missing-part") -> list[str]:
    """The places that damage of a kind names."""
    return sorted(damage.where for damage in unit.damage if damage.kind == kind)


# --- sharded models --------------------------------------------------------------------------------------------------


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


# --- distributed checkpoints -----------------------------------------------------------------------------------------


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


# --- DeepSpeed -------------------------------------------------------------------------------------------------------


def write_ranks(folder: Path, data: int = 2, model: int = 1, prefix: str = "", stage3: bool = False, **more) -> None:
    """The files of all ranks."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {"module": {"w": torch.ones(1)}, "optimizer": None, "param_shapes": [{"w": torch.Size([1])}]}
    state |= {"dp_world_size": data, "mp_world_size": model, **more}
    for m in range(model):
        for d in range(data):
            name = f"zero_pp_rank_{d}_mp_rank_{m:02d}"
            torch.save({"optimizer_state_dict": {}}, folder / f"{prefix}{name}_optim_states.pt")
            if stage3:
                torch.save(state, folder / f"{name}_model_states.pt")
        if not stage3:
            torch.save(state, folder / f"mp_rank_{m:02d}_model_states.pt")


@pytest.mark.parametrize(
    "ranks", [{}, {"model": 2}, {"prefix": "bf16_"}, {"stage3": True}, {"data": 1}, {"data": 12, "model": 2}]
)
def test_the_files_of_all_ranks_are_whole_and_each_is_missed(tmp_path, ranks):
    write_ranks(tmp_path, **ranks)
    files = sorted(path.name for path in tmp_path.iterdir())
    (found,) = set_of(tmp_path, files)
    assert (tuple(files), tmp_path) == (found.files, found.path)
    whole = open_unit(tmp_path)
    assert ((), (), "training") == (whole.damage, whole.not_checked, whole.layout)
    for name in files[:3] + files[-3:]:
        raw = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        assert [name] == told(open_unit(tmp_path)), name
        (tmp_path / name).write_bytes(raw)


def test_without_the_number_of_processes_it_is_not_checked(tmp_path):
    write_ranks(tmp_path, dp_world_size=None)
    unit = open_unit(tmp_path)
    assert ((), 1) == (unit.damage, len(unit.not_checked))


def test_an_optimizer_in_the_model_file_needs_no_others(tmp_path):
    write_ranks(tmp_path, data=1, param_shapes=None, dp_world_size=8)
    (tmp_path / "zero_pp_rank_0_mp_rank_00_optim_states.pt").unlink()
    assert () == open_unit(tmp_path).damage


def test_of_stages_and_experts_the_number_is_not_known(tmp_path):
    write_ranks(tmp_path, mp_world_size=4)
    torch.save({}, tmp_path / "layer_00-model_00-model_states.pt")
    unit = open_unit(tmp_path)
    assert ((), 1) == (unit.damage, len(unit.not_checked))


@pytest.mark.parametrize("value", [0, -1, 10**9, "2", 2.0, [2]])
def test_a_number_of_processes_that_cannot_be_is_not_believed(tmp_path, value):
    write_ranks(tmp_path, dp_world_size=value, mp_world_size=value)
    assert () == open_unit(tmp_path).damage


def test_names_that_speak_of_more_files_than_can_be_are_not_followed(tmp_path):
    write_ranks(tmp_path)
    for name in ("zero_pp_rank_0_mp_rank_999999_optim_states.pt", "model-00001-of-09999.bin"):
        torch.save({}, tmp_path / name)
    unit = open_unit(tmp_path)
    assert 3 == len(unit.not_checked)  # of model and optimizer files, and that there is no index
    assert 110 > len(unit.damage) > 100


# --- markers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marker", "text", "beside", "lost"),
    [
        ("latest", "global_step10", "global_step10", None),
        ("latest", "global_step10", "global_step20", "global_step10"),
        ("latest", "my-tag", "zero_to_fp32.py", "my-tag"),
        ("latest", "v1.2", "global", None),
        ("latest", "../global_step10", "zero_to_fp32.py", "../global_step10"),
        ("last_checkpoint", "model_0009.pth", "model_0009.pth", None),
        ("last_checkpoint", "model_0009.pth", "model_0004.pth", "model_0009.pth"),
        ("last_checkpoint", "/runs/a/epoch_3.pth", "epoch_3.pth", None),
        ("last_checkpoint", "/runs/a/epoch_3.pth", "epoch_2.pth", "/runs/a/epoch_3.pth"),
        ("last_checkpoint", "yesterday", "epoch_2.pth", None),
    ],
)
def test_a_marker_that_names_nothing_is_told(tmp_path, marker, text, beside, lost):
    (tmp_path / marker).write_text(text)
    if "." in beside:
        torch.save({"w": torch.ones(1)}, tmp_path / beside)
    else:
        write_ranks(tmp_path / beside)
    found = [one.path for one in set_of(tmp_path, [marker, beside])]
    assert ([tmp_path / marker] if lost else []) == found
    assert ([lost] if lost else []) == told(open_unit(tmp_path / marker))
    assert ([lost] if lost else []) == told(open_unit(tmp_path))


def test_sets_side_by_side_share_no_file(tmp_path):
    write_sharded(tmp_path)
    write_sharded(tmp_path, name="pytorch_model-{i:05d}-of-{n:05d}.bin", index="pytorch_model.bin.index.json")
    write_ranks(tmp_path)
    torch.save({}, tmp_path / "other.pt")
    sets = set_of(tmp_path, [path.name for path in tmp_path.iterdir()])
    files = [name for one in sets for name in one.files]
    assert (3, len(set(files))) == (len(sets), len(files))
    assert {path.name for path in tmp_path.iterdir()} - {"other.pt"} == set(files)
