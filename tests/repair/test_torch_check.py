"""`--verify torch`: torch itself loads both files, sees every difference, and runs no foreign code for it."""

from __future__ import annotations

import os
import shutil

import pytest
import torch

from ckpt_doctor import migrate, open_checkpoint
from ckpt_doctor.errors import VerificationFailed
from ckpt_doctor.inert import pickle_writer
from ckpt_doctor.repair import execution
from ckpt_doctor.repair.torch_check import compare_loaded
from tests.repair.repairs import SAMPLES, assert_refused


def test_torch_itself_may_have_the_last_word(run):
    """Every repair of every file passes it."""
    assert {"migrated"} == {result.status for result in migrate([run], verify_torch=True)}
    legacy = SAMPLES / "legacy"
    shutil.copytree(legacy, run.parents[2] / "legacy")
    (result,) = migrate([run.parents[2] / "legacy" / "checkpoints"], verify_torch=True)
    assert "migrated" == result.status, result


def test_what_torch_loads_otherwise_stops_it(step, monkeypatch):
    """A defect that our own reader would share does not get through."""
    monkeypatch.setattr(execution, "verified", lambda *_: ())
    dump = pickle_writer.dump
    monkeypatch.setattr(pickle_writer, "dump", lambda root, **options: dump({**root, "global_step": 141}, **options))
    assert_refused(step, "torch loads 141 for 140 at global_step", verify_torch=True)


BASE = {
    "model": {"a": torch.arange(6.0), "b": torch.ones(2, 3)},
    "epoch": 3,
    "rate": 0.5,
    "tuple": (1, [2]),
    "no": None,
}


@pytest.mark.parametrize(
    "other",
    [
        {**BASE, "model": {**BASE["model"], "a": torch.arange(6.0) + 1e-7}},
        {**BASE, "model": {**BASE["model"], "a": torch.arange(6.0).double()}},
        {**BASE, "model": {**BASE["model"], "b": torch.ones(3, 2)}},
        {**BASE, "model": {"a": BASE["model"]["a"]}},
        {**BASE, "model": {**BASE["model"], "c": torch.ones(1)}},
        {**BASE, "epoch": 4},
        {**BASE, "rate": float("nan")},
        {**BASE, "tuple": (1, [3])},
        {**BASE, "tuple": (1, (2,))},
        {**BASE, "no": 0},
    ],
)
def test_the_comparison_sees_every_kind_of_difference(other, tmp_path):
    """And none between a file and itself."""
    old, new = tmp_path / "old.pt", tmp_path / "new.pt"
    torch.save(BASE, old)
    torch.save(other, new)
    compare_loaded(open_checkpoint(old), open_checkpoint(old), [])
    with pytest.raises(VerificationFailed, match="torch loads"):
        compare_loaded(open_checkpoint(old), open_checkpoint(new), [])


def test_torch_runs_no_foreign_code_for_it(tmp_path):
    """A file that would is refused before torch sees it."""
    path = tmp_path / "checkpoint.pt"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    torch.save({"x": Evil()}, path)
    with pytest.raises(VerificationFailed, match="foreign code"):
        compare_loaded(open_checkpoint(path), open_checkpoint(path), [])
    assert not (tmp_path / "ran").exists()
