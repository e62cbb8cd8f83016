"""Where the best checkpoint is: the path that the state names, and the folder beside this one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ckpt_doctor.trainers.hf_trainer import best_path
from ckpt_doctor.types import Member
from tests.trainers.hf_trainer.runs import judged, told
from tests.trainers.hf_trainer.values import member


def test_a_best_folder_that_was_deleted_is_told_and_a_download_is_not(best_run: Path) -> None:
    shutil.rmtree(best_run / "checkpoint-10")
    assert "E610" in told(judged(best_run / "checkpoint-15"))
    assert judged(best_run / "checkpoint-15").verdict == "ok"
    for name in ("checkpoint-5", "checkpoint-20"):
        shutil.rmtree(best_run / name)
    assert "E610" not in told(judged(best_run / "checkpoint-15"))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A run folder with two checkpoints."""
    for number in (10, 20):
        (tmp_path / "out/run" / f"checkpoint-{number}").mkdir(parents=True)
    return tmp_path / "out/run"


def place(run: Path, told: object, name: str = "checkpoint-20") -> best_path.Place | None:
    held = member(name, state={"best_model_checkpoint": told})
    return best_path.of(replace(held, checkpoint=replace(held.checkpoint, path=run / name)))


@pytest.mark.parametrize(
    ("told", "is_there"),
    [
        ("checkpoint-10", True),
        ("run/checkpoint-10", True),
        ("./out/run/checkpoint-10", True),
        ("../run/checkpoint-10", True),
        ("other/checkpoint-10", False),
        ("/content/drive/run/checkpoint-10", False),
        ("C:\\runs\\run\\checkpoint-10", False),
    ],
)
def test_a_relative_path_is_right_where_its_end_is_the_end_of_the_runs_own(
    folders: Path, told: str, is_there: bool
) -> None:
    """Where the training was started is in no file. The folder of that name beside this one is told in any case."""
    found = place(folders, told)
    assert found is not None
    assert (told, "checkpoint-10", is_there) == (found.told, found.name, found.is_there)
    assert folders / "checkpoint-10" == found.beside


def test_a_folder_that_is_elsewhere_is_there_and_one_that_is_gone_is_not(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    elsewhere = place(folders, str(tmp_path / "best"))
    assert elsewhere is not None and elsewhere.is_there and elsewhere.beside is None
    gone = place(folders, "run/checkpoint-30")
    assert gone is not None and not gone.is_there and gone.beside is None


@pytest.mark.parametrize("told", [None, "", 7, ["run/checkpoint-10"], "a\0b"])
def test_what_is_no_path_names_nothing(folders: Path, told: object) -> None:
    assert place(folders, told) is None


def test_a_path_that_no_system_takes_is_not_there(folders: Path) -> None:
    found = place(folders, "x" * 5000)
    assert found is not None and not found.is_there


def test_the_best_of_a_run_is_the_one_that_its_furthest_state_names() -> None:
    def named(step: int, told: object) -> Member:
        return member(f"checkpoint-{step}", state={"global_step": step, "best_model_checkpoint": told})

    assert "checkpoint-9" == best_path.named_best((named(20, "run/checkpoint-9"), named(10, "run/checkpoint-5")))
    assert "checkpoint-5" == best_path.named_best((named(20, None), named(10, "run/checkpoint-5")))
    assert "" == best_path.named_best((named(20, None),))
