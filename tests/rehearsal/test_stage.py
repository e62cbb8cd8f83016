"""The scratch folder, in which what is new is nowhere else, and a run in it, whose troubles are sentences."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from ckpt_doctor.rehearsal import RehearsalFailed
from ckpt_doctor.rehearsal.stage import Stage, copied, mirror


def _stage(tmp_path: Path, program: str, timeout: float = 60.0) -> Stage:
    root = tmp_path / "scratch"
    (root / "work").mkdir(parents=True)
    return Stage(root, tmp_path / "project", (sys.executable, "-c", program), timeout, root / "traces")


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import sys; sys.exit('no data here')", "the first run failed with exit code 1: no data here"),
        ("import sys; sys.exit(3)", "exit code 3: it printed nothing"),
        ("pass", "no optimizer of torch made a step"),
    ],
    ids=["fails", "silent", "no-steps"],
)
def test_a_command_that_cannot_be_rehearsed_is_a_sentence(program: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RehearsalFailed, match=says):
        _stage(tmp_path, program).run("first")


def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(RehearsalFailed, match="was not done in 0 s; give --timeout"):
        _stage(tmp_path, "import time; time.sleep(60)", timeout=0.3).run("first")
    assert time.monotonic() - begun < 30


def test_workdir_stands_for_the_scratch_folder(tmp_path: Path) -> None:
    stage = _stage(tmp_path, "import sys, pathlib; sys.exit(pathlib.Path.cwd().samefile(sys.argv[1]) * 7)")
    with pytest.raises(RehearsalFailed, match="exit code 7"):
        stage.run("first", ["{workdir}"])


@pytest.mark.long
def test_a_file_of_the_users_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    target = tmp_path / "project" / "own.txt"
    target.write_text("mine")
    program = f"import torch; open({str(target)!r}, 'w')"
    with pytest.raises(RehearsalFailed, match=r"about to write to .*own.txt"):
        _stage(tmp_path, program).run("first")
    assert target.read_text() == "mine"


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
