"""Folders as trainers look at them."""

from pathlib import Path

from ckpt_doctor.trainers.shared_folders import names_in


def test_what_is_not_a_folder_has_no_names(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert names_in(tmp_path) == ["file"]
    assert names_in(tmp_path / "file") == names_in(tmp_path / "missing") == []
