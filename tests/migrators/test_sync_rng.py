"""`--sync-rng`: the generators' state of an epoch's beginning, from the file that was saved there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from ckpt_doctor import scan, undo
from tests.migrators.sample_runs import Sample, changed, differences, edit, given, load, repaired, untouched

RNG = {"python", "numpy", "torch", "cuda"}


@pytest.fixture
def run(sample) -> Sample:
    """A run whose best file was saved right before the epoch of its last step file."""
    copy = sample("complete-COS")
    best, step = load(copy.best), load(copy.step(75))
    assert (best["global_step"], step["epoch"]) == (45, 1)
    return copy


def test_the_state_of_the_best_file_comes_in(run):
    """All four generators', bit for bit; numpy's as plain numbers; nothing else changes."""
    best = load(run.best)["rng_state"]
    found = changed(run.step(75), "sync-rng")
    assert {"rng_state"} == {path[0] for path in found}
    held = load(run.step(75))["rng_state"]
    assert set(held) == RNG
    assert {("numpy", 1)} == {path[:2] for path in differences(best, held)}
    kind, keys, *rest = held["numpy"]
    assert isinstance(keys, list)
    assert (best["numpy"][0], list(best["numpy"][1]), [*best["numpy"][2:]]) == (kind, keys, rest)
    assert "unchanged" == untouched(run.step(75), "sync-rng").status


@pytest.mark.parametrize("in_place", [False, True])
def test_the_file_is_whole_afterwards_and_goes_back(run, in_place):
    """Every checksum fits, torch loads it in every way with the plain numbers, and undo gives the old bytes."""
    path = run.step(75)
    old = path.read_bytes()
    assert "migrated" == repaired(path, "sync-rng", "plain-scalars", in_place=in_place, verify_torch=True).status
    assert [] == [f.code for f in scan([path], deep=True).findings if f.severity != "info"]
    assert path.read_bytes().startswith(old)
    for mmap in (False, True):
        torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    undo([path])
    assert old == path.read_bytes()


def test_a_finding_calls_for_it_unless_the_loader_does_not_shuffle(run):
    """Time-LLM's train loader shuffles; `--no-shuffle` is the exception that has to be given."""
    path = run.step(75)
    assert "unchanged" == untouched(path, facts=given(shuffle=False)).status
    told = [f for f in scan([path]).findings if f.code == "R510"]
    assert [("warning", "ckpt-doctor migrate --sync-rng")] == [(f.severity, f.fix) for f in told]
    assert "migrated" == repaired(path).status
    assert "R510" not in {f.code for f in scan([path]).findings}


def test_where_no_file_has_the_state_all_repairs_refuse_it_with_the_reason(run):
    """Nothing is needed is said of no file that goes on with other data."""
    run.best.unlink()
    result = untouched(run.step(75), facts=given(steps_per_epoch=45))
    assert ("refused", ["sync-rng"]) == (result.status, [r.migration for r in result.refusals])
    assert "no file holds the state of this epoch's beginning" in result.refusals[0].reason


def test_in_the_first_epoch_the_seed_deals_the_batches(run):
    """There is no file from before it, and none is needed."""
    path = run.step(20)
    if not path.exists():
        shutil.copytree(run.step(75).parent, path.parent)
        edit(path, lambda held: held.update(epoch=0, global_step=20, best_score=None))
        edit(path, lambda held: held["scheduler"].update(last_epoch=0, _step_count=1))
    for entry in (held := load(path))["optimizer"]["state"].values():
        entry["step"].fill_(20)
    torch.save(held, path)
    shutil.rmtree(run.step(75).parent)
    shutil.rmtree(run.step(90).parent)
    shutil.rmtree(run.log.parent)
    run.best.unlink()
    result = untouched(path, "sync-rng")
    assert ("refused", "--steps-per-epoch N") == (result.status, result.refusals[0].settle)
    assert "P413" in {f.code for f in scan([path]).findings}
    found = changed(path, "sync-rng", facts=given(steps_per_epoch=45))
    assert {("rng_state",)} == {key[:1] for key in found}
    assert load(path)["rng_state"] is None


def test_a_best_file_that_changes_under_our_hands_is_not_mixed_in(run, monkeypatch):
    """Replaced after the last look by one with the same bytes it serves; with others the migration fails and leaves
    the file alone."""
    from ckpt_doctor.inert import pickle_writer

    real = pickle_writer.dump
    before = run.step(75).read_bytes()

    def overwritten(*args, **options):
        edit(run.best, lambda held: held["rng_state"].update(torch=torch.Generator().manual_seed(9).get_state()))
        return real(*args, **options)

    monkeypatch.setattr(pickle_writer, "dump", overwritten)
    result = repaired(run.step(75), "sync-rng")
    assert ("failed", True) == (result.status, "not what it was" in result.message)
    assert before == run.step(75).read_bytes()

    def replaced(*args, **options):
        os.replace(shutil.copy(run.best, run.root / "copy"), run.best)
        return real(*args, **options)

    monkeypatch.setattr(pickle_writer, "dump", replaced)
    assert "migrated" == repaired(run.step(75), "sync-rng").status


def test_a_donor_without_checksums_counts_by_its_identity(run, monkeypatch):
    """Nothing but device, inode, size and time tells whether its bytes are still the same."""
    from ckpt_doctor.inert import pickle_writer

    held = load(run.best)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(held, run.best)
    finally:
        torch.serialization.set_crc32_options(True)
    copy = Path(shutil.copytree(run.root, run.root.with_name("copy")))
    assert "migrated" == repaired(run.step(75), "sync-rng").status
    assert torch.equal(held["rng_state"]["torch"], load(run.step(75))["rng_state"]["torch"])

    other, real = Sample(copy), pickle_writer.dump

    def replaced(*args, **options):
        os.replace(shutil.copy(other.best, other.root / "copy"), other.best)
        return real(*args, **options)

    monkeypatch.setattr(pickle_writer, "dump", replaced)
    assert "failed" == repaired(other.step(75), "sync-rng").status


def test_a_stream_takes_no_tensors(run):
    """Said before anything is written."""
    path = run.step(75)
    held = load(path)
    torch.save(held, path, _use_new_zipfile_serialization=False)
    result = untouched(path, "sync-rng")
    assert ("refused", True) == (result.status, "torch-legacy" in result.refusals[0].reason)


def test_both_files_in_one_call(run):
    """The best file is rewritten before or after the step file takes its state: it has the same bytes."""
    from ckpt_doctor import migrate

    state = load(run.best)["rng_state"]["torch"]
    results = migrate([run.root / "checkpoints"])
    assert {"migrated"} <= {r.status for r in results if r.path in (run.best, run.step(75))}
    assert torch.equal(state, load(run.step(75))["rng_state"]["torch"])
    assert {} == differences(state, load(run.best)["rng_state"]["torch"])
