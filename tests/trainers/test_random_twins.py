"""Random states that are one in two checkpoints: copied, or of a loop that draws no numbers in between."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from ckpt_doctor import scan
from tests.trainers.accelerate.runs import run_of
from tests.trainers.hf_trainer.runs import Writer

ENDS = tuple(range(4, 32, 4))
SAME = "epoch_1", "epoch_4"


def told(run: Path) -> dict[str, tuple[str, list[str]]]:
    """Folder -> what its resume is, and the findings about parts of different moments."""
    return {
        file.checkpoint.path.name: (file.resume, [f.where for f in file.findings if f.code == "P409"])
        for file in scan([run]).files
    }


def copied(run: Path, part: str, source: str, *targets: str) -> None:
    for target in targets:
        shutil.copy(run / source / part, run / target / part)


def aged(run: Path) -> None:
    """As if each checkpoint had been written an hour after the one before."""
    for number, folder in enumerate(sorted(run.iterdir(), key=lambda path: int(path.name.strip("epochstk_-")))):
        for file in folder.iterdir():
            os.utime(file, (1e9 + 3600 * number,) * 2)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Seven epochs of a loop that draws, with shuffling left open."""
    return run_of(tmp_path / "run", ends=ENDS, inside=())


def test_a_state_of_another_folder_is_told_of_both_where_no_time_shows_the_copy(run: Path) -> None:
    copied(run, "random_states_0.pkl", *SAME)
    found = told(run)
    assert {name: ["random_states_0.pkl"] for name in SAME} == {name: at for name, (_, at) in found.items() if at}
    assert not {"identical"} & {found[name][0] for name in SAME}


@pytest.mark.parametrize("keeps_time", [False, True])
def test_the_copy_is_the_one_that_was_written_at_another_time_than_its_folder(run: Path, keeps_time: bool) -> None:
    aged(run)
    copied(run, "random_states_0.pkl", *SAME)
    if keeps_time:
        shutil.copystat(*(run / name / "random_states_0.pkl" for name in SAME))
    assert [SAME[1]] == [name for name, (_, at) in told(run).items() if at]


def test_another_processs_state_is_no_better(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ends=ENDS, inside=(), world=2)
    for folder in run.iterdir():  # each process has drawn its own
        path = folder / "random_states_1.pkl"
        state = torch.load(path, weights_only=False)
        torch.manual_seed(sum(folder.name.encode()))
        torch.save({**state, "torch_manual_seed": torch.get_rng_state()}, path)
    assert not any(at for _, at in told(run).values())
    shutil.copy(run / "epoch_1/random_states_1.pkl", run / "epoch_4/random_states_0.pkl")
    assert {"epoch_1": ["random_states_1.pkl"], "epoch_4": ["random_states_0.pkl"]} == {
        name: at for name, (_, at) in told(run).items() if at
    }


def test_a_loop_that_draws_nothing_has_the_same_state_in_good_health(run: Path) -> None:
    before = {name: resume for name, (resume, _) in told(run).items()}
    copied(
        run, "random_states_0.pkl", "epoch_0", *(folder.name for folder in run.iterdir() if folder.name != "epoch_0")
    )
    assert {name: (resume, []) for name, resume in before.items()} == told(run)


def test_where_little_shows_that_the_loop_draws_it_is_open(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ends=ENDS[:4], inside=())
    copied(run, "random_states_0.pkl", "epoch_0", "epoch_1")
    found = scan([run]).files
    assert not any(finding.code == "P409" for file in found for finding in file.findings)
    asked = [file.checkpoint.path.name for file in found if any("is of this step" in p.what for p in file.not_checked)]
    assert ["epoch_0", "epoch_1"] == asked
    assert {"open"} == {file.resume for file in found if file.checkpoint.path.name in asked}


def test_the_hugging_face_trainers_state(tmp_path: Path) -> None:
    """Its loop draws once an epoch: two saves within an epoch may have the same."""
    run = Writer(tmp_path / "out").write(*range(5, 41, 5))
    for number, folder in enumerate(sorted(run.iterdir())):
        path = folder / "rng_state.pth"
        state = torch.load(path, weights_only=False)
        torch.manual_seed(number)
        torch.save({**state, "cpu": torch.get_rng_state()}, path)
    for epoch in range(4):  # whose second save is at its end
        copied(run, "rng_state.pth", f"checkpoint-{10 * epoch + 5}", f"checkpoint-{10 * epoch + 10}")
    assert {("identical", ())} == {(resume, tuple(at)) for resume, at in told(run).values()}
    copied(run, "rng_state.pth", "checkpoint-5", "checkpoint-25")
    assert {"checkpoint-5", "checkpoint-10", "checkpoint-25"} == {name for name, (_, at) in told(run).items() if at}


def test_of_three_epochs_two_that_have_one_state_are_open(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", ends=ENDS[:3], inside=())
    copied(run, "random_states_0.pkl", "epoch_0", "epoch_1")
    assert {"epoch_0", "epoch_1"} <= {name for name, (resume, _) in told(run).items() if resume == "open"}
    (file,) = [file for file in scan([run]).files if file.checkpoint.path.name == "epoch_1"]
    assert any("random_states_0.pkl" in point.what for point in file.not_checked)
