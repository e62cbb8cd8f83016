"""`atomic_save` in the place of `torch.save`."""

import enum
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from ckpt_doctor.errors import VerificationFailed, WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.training import saving
from ckpt_doctor.training.saving import atomic_save


class Kind(enum.Enum):
    """A class of the script that saves."""

    GOOD = 1

    def shout(self) -> str:
        return f"{self.name}!"


def test_it_saves_what_torch_save_would(tmp_path):
    """Into folders that it makes; loaded, the object is the same; nothing else is left."""
    path = tmp_path / "run" / "checkpoint_step_10" / "checkpoint.pt"
    atomic_save({"model": {"w": torch.arange(1000.0)}, "epoch": 1}, path)
    loaded = torch.load(path)
    assert 1 == loaded["epoch"]
    assert torch.equal(torch.arange(1000.0), loaded["model"]["w"])
    assert ["checkpoint_step_10"] == os.listdir(tmp_path / "run")
    assert ["checkpoint.pt"] == os.listdir(path.parent)


def test_what_a_trainer_saves_is_its_own_affair(tmp_path):
    """Numpy's random state, numpy scalars, an argparse namespace, the script's own classes: nothing torch.save takes
    is refused, though torch.load(weights_only=True) would refuse the file."""
    import argparse
    import random

    state = {
        "rng_state": {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()},
        "best_score": np.float64(-0.5),
        "args": argparse.Namespace(learning_rate=0.01),
        "kind": Kind.GOOD,
        "method": Kind.GOOD.shout,
    }
    for name in ("checkpoint", "model.tmp"):
        atomic_save(state, tmp_path / name)
        loaded = torch.load(tmp_path / name, weights_only=False)
        assert (-0.5, Kind.GOOD, "GOOD!") == (loaded["best_score"], loaded["kind"], loaded["method"]())
        np.random.set_state(loaded["rng_state"]["numpy"])


def test_mode_follows_the_umask_or_the_previous_file(tmp_path):
    """A first save is as readable as any new file; later ones keep what somebody set."""
    path = tmp_path / "checkpoint"
    old = os.umask(0o027)
    try:
        atomic_save({"epoch": 1}, str(path))
    finally:
        os.umask(old)
    assert 0o640 == path.stat().st_mode & 0o777
    path.chmod(0o604)
    atomic_save({"epoch": 2}, path)
    assert 0o604 == path.stat().st_mode & 0o777
    assert {"epoch": 2} == torch.load(path)


def test_the_previous_checkpoint_survives_an_object_that_cannot_be_saved(tmp_path):
    """The error is torch's own; the file and the folder are as they were."""
    path = tmp_path / "checkpoint"
    atomic_save({"epoch": 1}, path)
    with pytest.raises(Exception, match=r"pickle|lambda"):
        atomic_save({"epoch": lambda: 2}, path)
    assert {"epoch": 1} == torch.load(path)
    assert ["checkpoint"] == os.listdir(tmp_path)


def test_the_previous_checkpoint_survives_a_full_disk(tmp_path):
    """Here a limit on the size of files stands for it."""
    import resource
    import signal

    path = tmp_path / "checkpoint"
    atomic_save({"epoch": 1}, path)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(WriteRefused, match="holds what it held before"):
            atomic_save({"w": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {"epoch": 1} == torch.load(path)
    assert ["checkpoint"] == os.listdir(tmp_path)


def test_a_file_that_does_not_read_back_is_not_published(tmp_path, monkeypatch):
    """What the reader calls damaged never takes the place of a good checkpoint."""
    path = tmp_path / "checkpoint"
    atomic_save({"epoch": 1}, path)
    read = saving.open_checkpoint

    def cut_first(temporary: Path) -> object:
        os.truncate(temporary, 300)
        return read(temporary)

    monkeypatch.setattr(saving, "open_checkpoint", cut_first)
    with pytest.raises(VerificationFailed, match="does not read back"):
        atomic_save({"epoch": 2}, path)
    assert {"epoch": 1} == torch.load(path)
    assert ["checkpoint"] == os.listdir(tmp_path)


def test_a_link_stays_and_what_belonged_to_the_old_file_goes(tmp_path):
    """Undo data and journal, even damaged ones, led from a checkpoint that is no more: they never stop a save."""
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / "best", tmp_path / "checkpoint"
    link.symlink_to(real)
    atomic_save({"epoch": 1}, link)
    for stale in (names.undo_file(real), names.journal(real), tmp_path / "disk" / ".best.ckpt-doctor-7.tmp"):
        stale.write_bytes(b"{}")
    atomic_save({"epoch": 2}, link)
    assert link.is_symlink()
    assert {"epoch": 2} == torch.load(link)
    assert ["best"] == os.listdir(tmp_path / "disk")


def test_an_error_of_what_is_saved_is_that_error(tmp_path):
    """It is no trouble with the disk, and the previous checkpoint stays."""
    atomic_save({"epoch": 1}, tmp_path / "c")

    class Broken:
        def __reduce__(self):
            raise RuntimeError("my own bug")

    with pytest.raises(RuntimeError, match="my own bug"):
        atomic_save({"x": Broken()}, tmp_path / "c")
    assert {"epoch": 1} == torch.load(tmp_path / "c")
    assert ["c"] == os.listdir(tmp_path)


def test_a_full_disk_is_told_as_one(tmp_path):
    atomic_save({"epoch": 1}, tmp_path / "c")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(WriteRefused, match="holds what it held before: File too large"):
            atomic_save({"w": torch.ones(1 << 18)}, tmp_path / "c")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {"epoch": 1} == torch.load(tmp_path / "c")
    assert ["c"] == os.listdir(tmp_path)
