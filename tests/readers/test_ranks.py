"""A folder of one moment, of which the files of its ranks or its neighbours show what it lacks."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest
import torch

from ckpt_doctor import latest
from ckpt_doctor.inert import limits
from ckpt_doctor.readers.folders import open_unit

WEIGHTS = {"w": torch.ones(2)}


def save(path: Path, **options: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": WEIGHTS, "args": argparse.Namespace(**options)}, path)


def lost(folder: Path) -> list[str]:
    """The names of what is missing."""
    return [damage.where for damage in open_unit(folder, is_compared=True).damage if damage.kind == "missing-part"]


def megatron(folder: Path, *ranks: str, **options: int) -> Path:
    for rank in ranks:
        save(folder / f"mp_rank_{rank}" / "model_optim_rng.pt", **options)
    return folder


TWO = {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 1}


def test_a_rank_that_the_saved_command_asks_for_is_missed(tmp_path):
    assert lost(megatron(tmp_path / "iter_0000010", "00", **TWO)) == ["mp_rank_01"]
    assert lost(megatron(tmp_path / "iter_0000020", "00", "01", **TWO)) == []
    assert lost(megatron(tmp_path / "iter_0000030", "00")) == []


def test_every_stage_has_every_rank(tmp_path):
    """Whatever the command: three of four."""
    assert lost(megatron(tmp_path / "iter_10", "00_000", "00_001", "01_000")) == ["mp_rank_01_001"]


def test_the_folder_of_a_rank_without_a_file_is_as_good_as_none(tmp_path):
    folder = megatron(tmp_path / "iter_0000010", "00", "01", **TWO)
    (folder / "mp_rank_01" / "model_optim_rng.pt").unlink()
    assert lost(folder) == ["mp_rank_01"]
    (folder / "mp_rank_01").rename(tmp_path / "elsewhere")
    (folder / "mp_rank_01").symlink_to(tmp_path / "elsewhere")
    assert lost(folder) == [], "a link is not followed"


@pytest.mark.parametrize("options", [{"tensor_model_parallel_size": 10**9}, {"tensor_model_parallel_size": -1}])
def test_absurd_sizes_ask_for_nothing(tmp_path, options):
    assert lost(megatron(tmp_path / "iter_10", "00", "99999", **options)) == [
        f"mp_rank_{rank:02d}" for rank in range(1, 101)
    ]


def test_the_names_of_files_say_how_many_ranks_there_are(tmp_path):
    for rank in (0, 1, 3):
        save(tmp_path / "global_step_10" / "actor" / f"optim_world_size_4_rank_{rank}.pt")
    assert lost(tmp_path / "global_step_10") == ["actor/optim_world_size_4_rank_2.pt"]


def steps(run: Path, *names: str) -> None:
    """Three moments with the same files."""
    for step in (10, 20, 30):
        for name in names:
            save(run / f"step{step}" / name)


def test_what_the_moments_around_it_have_is_missed(tmp_path):
    steps(tmp_path, "model.pt", "train/rank0.pt", "train/rank1.pt")
    shutil.rmtree(tmp_path / "step30" / "train")
    assert lost(tmp_path / "step30") == ["train/rank0.pt", "train/rank1.pt"]
    (tmp_path / "step20" / "model.pt").unlink()
    assert lost(tmp_path / "step10") == []


def test_a_folder_is_the_same_by_every_name(tmp_path, monkeypatch):
    """As a link to the last one, and as the folder in which a person stands."""
    steps(tmp_path, "model.pt", "optim.pt")
    (tmp_path / "step30" / "optim.pt").unlink()
    (tmp_path / "latest").symlink_to("step30")
    monkeypatch.chdir(tmp_path / "step30")
    assert lost(tmp_path / "latest") == lost(Path()) == ["optim.pt"]
    assert lost(tmp_path) == []


def test_old_moments_without_the_optimizer_are_alike(tmp_path):
    """Someone made room: the first has nothing before it, and the second has another such beside it."""
    steps(tmp_path, "model.pt", "optim.pt")
    for step in (10, 20):
        (tmp_path / f"step{step}" / "optim.pt").unlink()
    assert lost(tmp_path / "step10") == lost(tmp_path / "step20") == []


def test_a_run_may_go_on_with_fewer_ranks(tmp_path):
    """As long as the rank that left has left no file at all, and the others have more of the optimizer."""
    steps(tmp_path, "train/rank0.pt", "train/rank1.pt", "optim/rank0.pt", "optim/rank1.pt")
    (tmp_path / "step30" / "train" / "rank1.pt").unlink()
    assert lost(tmp_path / "step30") == ["train/rank1.pt"]
    (tmp_path / "step30" / "optim" / "rank1.pt").unlink()
    assert lost(tmp_path / "step30") == ["optim/rank1.pt"]
    torch.save([torch.ones(2000)], tmp_path / "step30" / "optim" / "rank0.pt")
    assert lost(tmp_path / "step30") == []


def test_a_save_that_is_marked_as_unfinished_lacks_something(tmp_path):
    save(tmp_path / "x-step=10" / "weights" / "common.pt")
    assert lost(tmp_path / "x-step=10") == []
    (tmp_path / "x-step=10-unfinished").touch()
    assert lost(tmp_path / "x-step=10") == ["x-step=10-unfinished"]


def test_a_name_that_calls_for_very_many_ranks_costs_little(tmp_path):
    """`latest` names the rule once."""
    save(tmp_path / "global_step_10" / "actor" / "model_world_size_99999_rank_3.pt")
    assert limits.MAX_DAMAGE == len(lost(tmp_path / "global_step_10"))
    ((_, why),) = latest(tmp_path)[1]
    assert "F114 missing-part" == why
