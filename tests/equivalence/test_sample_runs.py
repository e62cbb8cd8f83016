"""The committed sample runs are what `fixtures/make.py` says they are."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import make
import pytest
import torch

from tests.equivalence.harness import FIXTURES

RUNS = FIXTURES / "sample-runs"


def checkpoints(root: Path) -> list[Path]:
    return sorted(p for p in root.glob("*/checkpoints/**/*") if p.is_file())


def load(path: Path) -> tuple[dict, Counter]:
    """The content, and how many storages carry which location tag."""
    tags: Counter = Counter()

    def location(storage: torch.UntypedStorage, tag: str) -> torch.UntypedStorage:
        tags[tag] += 1
        return storage

    return torch.load(path, map_location=location, weights_only=False), tags


def summary(path: Path) -> tuple:
    file, tags = load(path)
    if "model" not in file:
        return list(file), dict(tags)
    return list(file), dict(tags), file["epoch"], file["global_step"], file["scheduler"]["last_epoch"]


def test_they_are_small() -> None:
    """All of them together stay under 1 MB, so that every clone can have them."""
    assert sum(p.stat().st_size for p in RUNS.rglob("*") if p.is_file()) < 1_000_000


def test_weights_and_moments_are_tagged_as_on_a_gpu() -> None:
    """20 storages of weights (one has two names), two moments for each of 13 params; `step` and generators stay."""
    _, bare = load(next(RUNS.glob("legacy/checkpoints/*/checkpoint")))
    _, first = load(next(RUNS.glob("first-patch-type1/checkpoints/*/checkpoint")))
    _, complete = load(next(RUNS.glob("complete-TST/checkpoints/*/checkpoint")))
    assert {"cuda:0": 20} == bare
    assert {"cuda:0": 20 + 2 * 13, "cpu": 13} == first
    assert {"cuda:0": 20 + 2 * 13, "cpu": 13 + 2} == complete


def test_the_logs_end_where_the_sessions_died() -> None:
    """One in the middle of a line, one before its files do, one before the validation of a finished epoch."""
    first, late, cos = (
        next(RUNS.glob(f"{name}/logs/*.log")).read_bytes()
        for name in ("first-patch-type1", "complete-TST", "complete-COS")
    )
    assert b"EarlyStopping counter: 1 out of 10" in first
    assert not first.endswith(b"\n")
    assert b"checkpoint_step_120" not in late
    assert cos.splitlines()[-1].startswith(b"Epoch: 2 cost time")


def test_damaged_files_do_not_load() -> None:
    """A cut archive (torch seeks before the start of a file this short: OSError), nothing at all, and a web page."""
    damaged = [p for p in checkpoints(RUNS) if p.is_relative_to(RUNS / "damaged")]
    assert len(damaged) == 3
    for path in damaged:
        with pytest.raises((OSError, EOFError, pickle.UnpicklingError)):
            load(path)


@pytest.mark.long
def test_make_makes_them(tmp_path: Path) -> None:
    """The script gives the same runs again: the same files with the same keys, tags, epochs and steps."""
    make.main(tmp_path)
    made = [p.relative_to(tmp_path) for p in checkpoints(tmp_path)]
    assert [p.relative_to(RUNS) for p in checkpoints(RUNS)] == made
    for path in (p for p in made if p.parts[0] != "damaged"):
        assert summary(RUNS / path) == summary(tmp_path / path)
