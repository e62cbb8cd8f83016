"""What the name of a checkpoint's file or folder says of its moment."""

from __future__ import annotations

import pytest

from ckpt_doctor.inert.moments import counts_as, form_of, moment_of, number_of, numbers_of, role_of


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("iter_0000500", 500),
        ("step1000-unsharded", 1000),
        ("global_step_30", 30),
        ("ep0-ba100-rank0.pt", 100),
        ("model--val_loss=0.10-step=70-consumed_samples=280.0-last", 70),
        ("checkpoint-12", 12),
        ("2024-01-01_12-00-00-backup-50-1-0", 50),
        ("0001000", 1000),
        ("20240110", None),
        ("fold_3", None),
        ("lr0.01", None),
        ("twostep3", None),
        ("final", None),
    ],
)
def test_the_last_count_that_a_name_says_is_its_number(name, number):
    assert number_of(name) == number


def test_names_of_one_run_differ_in_their_numbers():
    assert form_of("ep0-ba50-rank0.pt") == form_of("ep1-ba150-rank0.pt") != form_of("latest-rank0.pt")


def test_a_key_counts_what_the_name_says():
    assert counts_as("iter_0000500", "iteration")
    assert not counts_as("iter_0000500", "epoch")
    assert not counts_as("step_2-epoch_5", "step")
    assert not counts_as("final", "step")
    assert not counts_as("global_step50", "global_steps")  # DeepSpeed's own count


def test_a_rank_belongs_to_the_role_of_a_file_and_not_to_its_moment():
    names = ("checkpoint_1_50-shard0.pt", "checkpoint_1_100-shard0.pt", "checkpoint_1_50-shard1.pt")
    assert role_of(names[0]) == role_of(names[1]) != role_of(names[2])
    assert moment_of(names[0]) == moment_of(names[2]) == (1, 50) != moment_of(names[1])
    assert role_of("model_10.rank_0.pth") != role_of("model_10.rank_1.pth")


def test_of_one_number_the_time_of_a_save_decides():
    names = ["CKPT+2024-01-12+08-00-00", "CKPT+2024-01-03+12-00-00", "CKPT+2024-01-12+07-59-00"]
    assert sorted(names) == sorted(names, key=numbers_of)
