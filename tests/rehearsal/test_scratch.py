"""The folder in which a rehearsal runs: what is new there is nowhere else."""

from __future__ import annotations

from pathlib import Path

from ckpt_doctor.rehearsal.scratch import copied, mirror


def _project(root: Path) -> Path:
    project = root / "a project"
    (project / "data" / "deep").mkdir(parents=True)
    (project / "data" / "deep" / "x.bin").write_text("data")
    (project / "train.py").write_text("pass")
    (project / ".git").mkdir()
    (project / "env").mkdir()
    (project / "env" / "pyvenv.cfg").write_text("")
    (project / "link").symlink_to(project / "data")
    return project


def test_files_are_links_and_folders_are_new(tmp_path: Path) -> None:
    project = _project(tmp_path)
    mirror(project, tmp_path / "work")
    work = tmp_path / "work"
    assert (work / "data" / "deep" / "x.bin").read_text() == "data"
    assert (work / "data" / "deep").is_dir()
    assert not (work / "data" / "deep").is_symlink()
    assert all((work / name).is_symlink() for name in ("train.py", ".git", "env", "link"))
    (work / "data" / "new.txt").write_text("new")
    (work / "checkpoints").mkdir()
    assert sorted(path.name for path in project.iterdir()) == [".git", "data", "env", "link", "train.py"]
    assert not (project / "data" / "new.txt").exists()


def test_a_scratch_folder_within_the_project_is_not_mirrored_into_itself(tmp_path: Path) -> None:
    project = _project(tmp_path)
    mirror(project, project / "tmp" / "work")
    assert not (project / "tmp" / "work" / "tmp" / "work").exists() or (project / "tmp" / "work" / "tmp").is_symlink()


def test_a_copy_has_the_bytes_of_its_moment(tmp_path: Path) -> None:
    mirror(_project(tmp_path), tmp_path / "work")
    (tmp_path / "work" / "out").mkdir()
    (tmp_path / "work" / "out" / "a.pt").write_text("first")
    copied(tmp_path / "work", tmp_path / "frozen")
    (tmp_path / "work" / "out" / "a.pt").write_text("second")
    assert (tmp_path / "frozen" / "out" / "a.pt").read_text() == "first"
    assert (tmp_path / "frozen" / "train.py").is_symlink()
