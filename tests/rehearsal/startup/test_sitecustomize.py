"""What runs as each Python of a recorded command starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt_doctor.rehearsal.recording import environment
from tests.rehearsal.test_recording import TRAIN, recorded


def test_a_program_without_torch_is_left_alone(tmp_path: Path) -> None:
    done = recorded(
        [sys.executable, "-c", "import sys; print(len([m for m in sys.modules if 'torch' in m]))"], tmp_path
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert not (tmp_path / "run.trace").exists()


def test_a_sitecustomize_that_is_shadowed_runs_too(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import builtins; builtins.seen = 'own'")
    path = environment({})["PYTHONPATH"] + os.pathsep + str(own)
    done = recorded([sys.executable, "-c", "print(seen)"], tmp_path, PYTHONPATH=path)
    assert (done.stdout, done.stderr) == ("own\n", "")


@pytest.mark.long
def test_an_isolated_python_is_not_reached_and_runs(tmp_path: Path) -> None:
    done = recorded([sys.executable, "-I", "-c", TRAIN], tmp_path)
    assert done.returncode == 0
    assert not (tmp_path / "run.trace").exists()


def test_settings_that_are_broken_do_not_stop_the_command(tmp_path: Path) -> None:
    variables = environment({}) | {"CKPT_DOCTOR_RECORDING": "{"}
    done = subprocess.run(
        [sys.executable, "-c", "print(1)"], env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "1\n"
    assert done.stderr.startswith("ckpt-doctor: not recording: JSONDecodeError")
