"""Edits are made to a copy of the tree, or refused; tensors from other files get names that are free here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor.errors import EditRefused
from ckpt_doctor.inert.edits import adopt, apply
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.types import Checkpoint, Edit, InertDict
from tests.readers.torch_files import save


def edit(*path: str | int, after: Any = None, before: Any = None, op: Any = "set", donor: Any = None) -> Edit:
    return Edit(path, before, after, "a test", op, donor)


def test_a_value_is_set_in_a_copy_and_its_siblings_stay() -> None:
    tree = {"epoch": 1, "groups": [{"lr": 0.1}, {"lr": 0.2}], "betas": (0.9, [0.99])}
    edits = [edit("groups", 1, "lr", after=0.3), edit("betas", 0, after=0.8), edit("betas", 1, 0, after=0.95)]
    assert {"epoch": 1, "groups": [{"lr": 0.1}, {"lr": 0.3}], "betas": (0.8, [0.95])} == apply(tree, edits)
    assert {"epoch": 1, "groups": [{"lr": 0.1}, {"lr": 0.2}], "betas": (0.9, [0.99])} == tree


def test_edits_are_made_in_their_order() -> None:
    """Once the root is wrapped, the paths of later edits begin with its new key."""
    wrapped = apply({"w": 1}, [edit("model", op="wrap"), edit("epoch", after=3), edit("model", "w", after=2)])
    assert {"model": {"w": 2}, "epoch": 3} == wrapped


@pytest.mark.parametrize("path", [("a", "b"), ("list", 7, "x"), ("list", 3)])
def test_a_place_that_the_file_does_not_have_is_refused(path: tuple[str | int, ...]) -> None:
    with pytest.raises(EditRefused, match="no such place"):
        apply({"list": [1]}, [edit(*path, after=1)])


def test_a_prefix_goes_from_the_keys_and_from_the_names_of_modules(tmp_path: Path) -> None:
    """As torch's own `consume_prefix_in_state_dict_if_present` does it."""
    state = torch.nn.DataParallel(torch.nn.Sequential(torch.nn.BatchNorm1d(2))).state_dict()
    read = open_checkpoint(save(tmp_path / "a", state)).root
    stripped = apply(read, [edit(before="module.", op="strip")])
    torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
    assert isinstance(stripped, InertDict) and list(state) == list(stripped)
    assert [{"_metadata": state._metadata}] == stripped.source.states


def test_two_keys_never_become_one() -> None:
    with pytest.raises(EditRefused, match="the same without"):
        apply({"model": {"module.w": 1, "w": 2}}, [edit("model", before="module.", op="strip")])


def test_storages_of_one_device_move_and_others_stay(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(save(tmp_path / "a", {"cpu": torch.ones(2), "meta": torch.ones(2, device="meta")}))
    moved: Any = apply(checkpoint.root, [edit(before="cpu", after="cuda:1", op="relocate")])
    assert ("cuda:1", "meta") == (moved["cpu"].storage.location, moved["meta"].storage.location)


@pytest.fixture
def donor(tmp_path: Path) -> Checkpoint:
    """A file with two tensors of one storage."""
    base = torch.arange(6.0)
    return open_checkpoint(save(tmp_path / "donor", {"x": base[:3], "y": base[3:], "none": torch.ones(0)}))


def test_a_storage_from_another_file_gets_one_name_that_is_free(tmp_path: Path, donor: Checkpoint) -> None:
    """The file's own storages are 0 and 1, so the adopted one is 2, however many tensors view it."""
    own = open_checkpoint(save(tmp_path / "own", {"a": torch.ones(1), "b": torch.ones(1)}))
    edits = [edit(name, after=donor.get(name), donor=donor) for name in ("x", "y")]
    renamed, (adopted,) = adopt([*edits, edit("epoch", after=3)], own)
    assert ("2", donor.path, 24) == (adopted.key, adopted.donor, adopted.nbytes)
    assert donor.tensors[0].storage.offset == adopted.offset and donor.checksums["0"] == adopted.crc
    assert ["2", "2"] == [one.after.storage.key for one in renamed[:2]]  # type: ignore[attr-defined]
    assert "0" == donor.root["x"].storage.key  # type: ignore[index]


def test_a_tensor_without_bytes_brings_nothing(tmp_path: Path, donor: Checkpoint) -> None:
    own = open_checkpoint(save(tmp_path / "own", {}))
    assert [] == adopt([edit("none", after=donor.get("none"), donor=donor)], own)[1]


def test_a_storage_whose_bytes_were_not_found_is_refused(tmp_path: Path, donor: Checkpoint) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(donor.path.read_bytes()[: donor.tensors[0].storage.offset])
    lost = open_checkpoint(cut)
    with pytest.raises(EditRefused, match="not found"):
        adopt([edit("x", after=lost.get("x"), donor=lost)], donor)
