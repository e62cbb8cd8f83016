"""Migrations together: in one pass or one by one, in any order, they lead to the same file, which needs none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor import audit
from ckpt_doctor.repair import NAMES
from tests.migrators.sample_runs import SAMPLES, Sample, differences, edit, load, repaired, untouched

TRAINING = ("fix-epoch", "sync-scheduler", "add-best-score", "strip-prefix", "plain-scalars")


def spoil(held: dict) -> None:
    """Give a step file a defect for every migration."""
    held["model"] = type(held["model"])((f"module.{key}", value) for key, value in held["model"].items())
    held["epoch"] = 4
    held["best_score"] = np.float64(0.3)
    held["counter"] = 3
    held["scheduler"]["last_epoch"] = 77


@pytest.fixture(scope="session")
def spoiled(tmp_path_factory) -> Sample:
    """A run of the complete trainer whose last step file has all defects."""
    run = Sample.copy("complete-TST", tmp_path_factory.mktemp("spoiled") / "run")
    edit(run.step(140), spoil)
    return run


@pytest.fixture(scope="session")
def together(spoiled, tmp_path_factory) -> Path:
    """What `--all` makes of it."""
    run = copy_of(spoiled, tmp_path_factory.mktemp("together"))
    assert "migrated" == repaired(run.step(140)).status
    return run.step(140)


def copy_of(run: Sample, to) -> Sample:
    """Another copy of a changed run."""
    import shutil

    shutil.copytree(run.root, to / "run")
    return Sample(to / "run")


def test_all_repairs_what_was_spoiled(together):
    """The result is the healthy file, moved to its resume point, in plain numbers."""
    healthy = torch.load(
        next((SAMPLES / "complete-TST").rglob("checkpoint_step_140/checkpoint.pt")),
        map_location="cpu",
        weights_only=False,
    )
    held = load(together)
    found = differences(healthy, held)
    assert {key[0] for key in found} <= {"scheduler", "optimizer", "best_score", "val_loss_min", "rng_state"}
    assert (healthy["epoch"], float(healthy["best_score"]), healthy["counter"]) == (
        held["epoch"],
        held["best_score"],
        held["counter"],
    )
    assert (140, 141) == (held["scheduler"]["last_epoch"], held["scheduler"]["_step_count"])


@pytest.mark.long
@settings(max_examples=8)
@given(st.permutations(TRAINING))
def test_one_by_one_in_any_order_they_lead_to_the_same_file(spoiled, together, tmp_path_factory, order):
    """Each plans towards the same resume point, so none undoes what another did."""
    run = copy_of(spoiled, tmp_path_factory.mktemp("order"))
    for fix in order:
        assert "migrated" == repaired(run.step(140), fix).status, fix
    assert {} == differences(load(together), load(run.step(140)))
    assert {"sync-rng"} == {refusal.migration for refusal in untouched(run.step(140)).refusals}


@pytest.mark.parametrize("name", ["complete-TST", "complete-COS", "first-patch-type1", "legacy"])
def test_afterwards_nothing_is_found_that_a_file_edit_cures(name, sample):
    """Of every file of every sample run; and the second time all files stay as they are.

    Where the random state of an epoch's beginning is in no file, that stays, and is refused each time.
    """
    run = sample(name)
    for path in sorted(run.run.rglob("checkpoint*")):
        if path.is_file():
            assert repaired(path).status in ("migrated", "unchanged")
    left = [f for f in audit.scan([run.run]).findings if f.severity != "info" and f.migration]
    assert [] == left
    for path in sorted(run.run.rglob("checkpoint*")):
        if path.is_file() and "ckpt-doctor" not in path.name:
            again = untouched(path)
            assert {"sync-rng"} >= {refusal.migration for refusal in again.refusals}
            assert again.refusals or "unchanged" == again.status


@pytest.mark.parametrize("fix", [*NAMES, None])
def test_files_that_are_not_the_trainers_are_left_alone(fix, tmp_path):
    """Somebody's weights, a Lightning checkpoint, a pickled dict, safetensors: no fix of the trainer's touches them."""
    from safetensors.torch import save_file

    weights = {"layer.weight": torch.ones(3, 3)}
    torch.save(
        {"state_dict": weights, "pytorch-lightning_version": "2.0", "epoch": 3, "global_step": 9}, tmp_path / "l.ckpt"
    )
    torch.save([1, 2, torch.ones(2)], tmp_path / "list.pt")
    torch.save(torch.ones(4), tmp_path / "tensor.pt")
    save_file(weights, tmp_path / "m.safetensors")
    for path in sorted(tmp_path.iterdir()):
        untouched(path, *([fix] if fix else []))
    torch.save(weights, tmp_path / "weights.pt")
    if fix not in ("upgrade", None):
        untouched(tmp_path / "weights.pt", fix)
