"""The files of all ranks of DeepSpeed: each that is missing is missed."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor.readers.folders import open_unit
from ckpt_doctor.readers.sets import set_of
from tests.readers.set_files import told, write_ranks


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


def test_a_universal_folder_has_the_optimizer_in_folders_of_parameters(tmp_path):
    """deepspeed/checkpoint/ds_to_universal.py leaves the model's files as they were."""
    write_ranks(tmp_path, data=1, model=2)
    for rank in (0, 1):
        (tmp_path / f"zero_pp_rank_0_mp_rank_{rank:02d}_optim_states.pt").unlink()
    (tmp_path / "zero" / "0.weight").mkdir(parents=True)
    torch.save(torch.ones(2), tmp_path / "zero" / "0.weight" / "exp_avg.pt")
    assert () == open_unit(tmp_path).damage
    (tmp_path / "mp_rank_00_model_states.pt").unlink()
    assert ["mp_rank_00_model_states.pt"] == told(open_unit(tmp_path))
