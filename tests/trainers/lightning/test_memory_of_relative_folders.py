"""A run that was saved under a relative folder, which a logger with a relative `save_dir` gives, and moved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from ckpt_doctor import audit, repair
from ckpt_doctor.trainers.facts import facts
from tests.trainers.lightning.runs import MONITOR, put, write


def test_the_cure_of_a_relative_folder_is_relative(tmp_path):
    """ModelCheckpoint compares the texts; an absolute one would never be that of the logger."""
    old = Path("logs", "first", "checkpoints")
    new = tmp_path / "kept" / "logs" / "second" / "checkpoints"
    for path in write(new):
        held = torch.load(path, weights_only=False)["callbacks"][MONITOR]
        text = {key: str(old / Path(value).name) for key, value in held.items() if key.endswith("_path") and value}
        kept = {str(old / Path(key).name): value for key, value in held["best_k_models"].items()}
        put(path, ["callbacks", MONITOR], {**held, **text, "dirpath": str(old), "best_k_models": kept})
    (result,) = repair.migrate([path])
    assert result.status == "migrated"
    assert str(tmp_path / "kept") in result.notes[0] and "dirpath=" not in result.notes[0]
    state = torch.load(path, weights_only=False)["callbacks"][MONITOR]
    assert state["dirpath"] == "logs/second/checkpoints"
    assert {Path(kept).parent for kept in state["best_k_models"]} == {Path("logs/second/checkpoints")}
    assert audit.check(path, facts=facts(shuffle=False)).files[0].resume == "identical"


@pytest.mark.long
def test_the_library_takes_the_memory_up(tmp_path, monkeypatch):
    """A renamed version of the logger: forgotten without the cure, remembered with it."""
    pytest.importorskip("lightning.pytorch")
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger

    from tests.trainers.lightning.real_library import fit

    def resumed(version: str, path: Path | None, epochs: int) -> ModelCheckpoint:
        saver = ModelCheckpoint(monitor="val_loss", mode="max", save_top_k=2)
        logger = CSVLogger("logs", name="mine", version=version)
        fit([saver], resume=path, epochs=epochs, root=tmp_path, logger=logger)
        return saver

    monkeypatch.chdir(tmp_path)
    best = resumed("first", None, 2).best_model_score
    shutil.move("logs/mine/first", "logs/mine/second")
    path = max(Path("logs/mine/second/checkpoints").glob("*.ckpt"), key=lambda file: file.stat().st_mtime_ns)
    shutil.copytree("logs", "spare")
    assert resumed("second", path, 3).best_model_score != best
    shutil.rmtree("logs")
    shutil.move("spare", "logs")
    (result,) = repair.migrate([path])
    assert result.status == "migrated"
    assert resumed("second", path, 3).best_model_score == best
