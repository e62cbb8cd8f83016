"""Folders as trainers look at them."""

from pathlib import Path

from ckpt_doctor.trainers.shared_folders import names_in, number_behind, numbered_in


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
