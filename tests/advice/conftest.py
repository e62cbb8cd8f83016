"""A Drive folder as it looks after months: renamed folders, copies, a lost log, a cut file, files of others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from ckpt_doctor.cli.main import app

SAMPLES = Path(__file__).parents[2] / "fixtures" / "sample-runs"


def put(drive: Path, sample: str, name: str = "", *, log: bool = True) -> Path:
    """A sample run in the Drive folder, under another name where one is given; its log where that was not lost."""
    source = next((SAMPLES / sample / "checkpoints").iterdir())
    run = drive / "checkpoints" / (name or source.name)
    shutil.copytree(source, run)
    (drive / "logs").mkdir(exist_ok=True)
    for file in (SAMPLES / sample / "logs").glob("*.log") if log else ():
        shutil.copy(file, drive / "logs")
    return run


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, which is the working folder."""
    cut = put(tmp_path, "complete-COS") / "checkpoint_step_90" / "checkpoint.pt"
    os.truncate(cut, cut.stat().st_size // 2)
    put(tmp_path, "complete-TST", log=False)
    renamed = put(tmp_path, "first-patch-type1", "old run (backup)")
    shutil.copy(renamed / "checkpoint", renamed / "checkpoint (1)")
    put(tmp_path, "legacy", "from the lab", log=False)
    put(tmp_path, "damaged", "broken download")
    others = tmp_path / "checkpoints" / "somebody"
    others.mkdir()
    torch.save({"weights": torch.ones(4), "note": "mine"}, others / "thing.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def call() -> Callable[..., Result]:
    """Runs `ckpt-doctor` with arguments."""
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
