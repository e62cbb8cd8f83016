"""Folders as trainers look at them."""

from pathlib import Path

import pytest

from ckpt_doctor.trainers.shared_folders import (
    is_in_folders,
    names_in,
    number_behind,
    numbered_in,
    run_around,
)


def test_what_is_not_a_folder_has_no_names(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert names_in(tmp_path) == ["file"]
    assert names_in(tmp_path / "file") == names_in(tmp_path / "missing") == []


def test_a_number_ends_a_name_and_nothing_else_does(tmp_path: Path) -> None:
    assert 10 == number_behind("step_", "step_10")
    assert 10**17 == number_behind("step_", f"step_{10**17}"), "18 digits"
    others = ("step_", "step_1x", "xstep_1", "1", "step_-1", "step_²", f"step_{10**18}")
    assert [None] * len(others) == [number_behind("step_", name) for name in others]
    for name in ("step_3", "step_x", "other"):
        (tmp_path / name).touch()
    assert [(tmp_path / "step_3", 3)] == numbered_in(tmp_path, "step_")


@pytest.mark.parametrize(
    ("path", "run"),
    [
        ("out/step-00000100/lit_model.pth", "out"),
        ("out/epoch_3/model.pt", "out"),
        ("out/epoch_3.pt", "out"),
        ("out/step_2/best.pt", "out/step_2"),
        ("out/step_2/epoch_1.pt", "out/step_2"),
        ("out/fold_1/model.pt", "out/fold_1"),
        ("out/big_ep10/model.pt", "out/big_ep10"),
        ("out/final/model.pt", "out/final"),
        ("out/000100/model.pt", "out"),
        ("out/42/model.pt", "out/42"),
        ("model.pt", "."),
    ],
)
def test_a_folder_that_names_a_moment_lies_in_its_run(path: str, run: str) -> None:
    """A stage of training that is named like one has files of several moments in it."""
    assert Path(run) == run_around(Path(path))


def test_the_last_moment_lies_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "step-10").mkdir()
    assert tmp_path == run_around(tmp_path / "final" / "lit_model.pth")


@pytest.mark.parametrize(
    ("files", "is_one"),
    [
        (["iter_10/mp_rank_00/x.pt"], True),
        (["step10/model/rank0.pt", "step10/train/rank0.pt"], True),
        (["run-step=10/weights/common.pt", "run-step=10/context/io.json"], True),
        (["step_2/train/epoch_1.pt"], False),
        (["step_2/model/x.pt", "step_2/epoch_1/x.pt"], False),
        (["exp_2/model/x.pt"], False),
        (["checkpoints/mp_rank_00/x.ckpt"], False),
        (["step10/a.pt"], False),
        (["step10/a.pt", "step10/b.pt"], True),
        (["step10/best.pt", "step10/b.pt"], False),
        (["step10/checkpoint.pt", "step10/b.pt"], False),
        (["step10/model-1-of-2.bin", "step10/model-2-of-2.bin"], False),
        (["000100/pretrained_model/a.safetensors", "000100/training_state/b.safetensors"], True),
        (["step10/policy/weights/a.pt"], True),
        (["step_2/policy/weights/epoch_1.pt"], False),
        (["3/a.pt", "3/b.pt"], False),
        (["step_2/a_05.pt", "step_2/a_10.pt"], False),
        (["step_2/a_0.pt", "step_2/a_1.pt"], True),
        (["big_ep10/a_0.pt", "big_ep10/a_1.pt"], False),
        (["big_ep10/models/a_0.pt", "big_ep10/models/a_1.pt"], False),
        (["big_ep10/a_rank0.pt", "big_ep10/a_rank1.pt"], True),
    ],
)
def test_a_moment_in_folders_is_one_checkpoint(tmp_path: Path, files: list[str], is_one: bool) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    folder = tmp_path / files[0].split("/")[0]
    assert is_one == is_in_folders(folder, names_in(folder))
    link = tmp_path / "latest"
    link.symlink_to(folder.name)
    assert is_one == is_in_folders(link, names_in(link))


def test_a_moment_that_lacks_all_parts_but_one_is_known_by_those_beside_it(tmp_path: Path) -> None:
    for number in (10, 20, 30):
        (tmp_path / f"step{number}").mkdir()
        for name in ("a.pt", "b.pt") if number < 30 else ("a.pt",):
            (tmp_path / f"step{number}" / name).touch()
    assert is_in_folders(tmp_path / "step30", ["a.pt"])
    (tmp_path / "step20" / "b.pt").unlink()
    assert not is_in_folders(tmp_path / "step30", ["a.pt"])
