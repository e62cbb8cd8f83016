"""Rehearsals of trainings with the real libraries: what is predicted of a checkpoint is what its resume does."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.rehearsal.rehearsing import Rehearsal, rehearse
from tests.rehearsal.test_same_weights import RANKS, SCRIPTS, TRAINER

pytestmark = pytest.mark.long


def _rehearse(tmp_path: Path, script: str, *more: str, launcher: tuple[str, ...] = (), **options: Any) -> Rehearsal:
    library = script.removeprefix("with_").removesuffix(".py").replace("hf", "transformers")
    if script.startswith("with_") and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    project = tmp_path / "my project"
    project.mkdir()
    command = [sys.executable, *launcher, str(SCRIPTS / script), *more]
    return rehearse(command, folder=project, timeout=300, **options)


def test_the_trainer_of_transformers_resumes_identically_in_mid_epoch(tmp_path: Path) -> None:
    result = _rehearse(tmp_path, "with_hf.py", resume="--resume_from_checkpoint {checkpoint}", kill_after=33, steps=50)
    assert result.checkpoint == "out/checkpoint-30"
    assert result.predicted.trainer == "hf"
    assert result.holds()
    assert not result.final.comparison.restored
    assert result.was_right is not False


@pytest.mark.parametrize("every", [0, 7], ids=["epoch end", "mid-epoch"])
def test_lightning_restores_what_a_checkpoint_can(every: int, tmp_path: Path) -> None:
    more = ("--every", str(every)) if every else ()
    result = _rehearse(tmp_path, "with_lightning.py", *more, resume="--ckpt_path {checkpoint}", kill_after=43, steps=55)
    assert result.predicted.trainer == "lightning"
    assert result.holds()
    assert not result.final.comparison.restored
    assert {one.quantity for one in result.final.comparison.differences} >= {"batch", "random state"}
    assert result.was_right is not False


def test_accelerate_resumes_at_an_epochs_end(tmp_path: Path) -> None:
    result = _rehearse(tmp_path, "with_accelerate.py", resume="--resume {checkpoint}", kill_after=45, steps=60)
    assert result.checkpoint == "states/epoch_1"
    assert result.holds()
    assert result.was_right is not False


def test_two_ranks_resume(tmp_path: Path) -> None:
    result = _rehearse(
        tmp_path, "plain.py", "--scaler", launcher=tuple(RANKS), resume="--resume {checkpoint}", kill_after=25, steps=40
    )
    assert result.checkpoint == "step_20.pt"
    assert result.holds()
    assert not result.final.comparison.restored


@pytest.mark.parametrize("mode", ["TST", "COS", "type1"])
def test_the_reference_trainer_resumes_as_predicted_and_identically_after_the_repair(mode: str, tmp_path: Path) -> None:
    command = (str(TRAINER), "--lradj", mode, "--save_steps", "10", "--dropout", "0.2", "--use_amp")
    result = _rehearse(tmp_path, *command, resume="--resume_from_checkpoint {checkpoint}", kill_after=43, steps=58)
    assert result.predicted.trainer == "time-llm"
    assert result.was_right is True
    assert result.holds()
    assert result.repaired is None or not result.repaired.comparison.restored
    assert (result.as_saved.outcome == "differs") == bool(
        {"R501", "R504", "R506"} & {f.code for f in result.predicted.findings}
    )
