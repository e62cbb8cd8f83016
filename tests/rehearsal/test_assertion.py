"""A rehearsal as an assertion in a project's own tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt_doctor.rehearsal import assert_resumes
from tests.rehearsal.test_rehearsing import EXAMPLE


@pytest.mark.long
def test_a_projects_own_test_keeps_its_resume_honest(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "test_resume.py"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    with pytest.raises(AssertionError, match="leaves the run"):
        assert_resumes(
            [sys.executable, "train.py", "--forget-schedule"], resume="--resume {checkpoint}", folder=project
        )
