"""Run, kill, resume, compare: real commands, in real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.errors import UsageError
from ckpt_doctor.rehearsal import RehearsalFailed
from ckpt_doctor.rehearsal.rehearsing import Rehearsal, rehearse
from ckpt_doctor.rehearsal.text import rehearsal_text

EXAMPLE = Path(__file__).parents[2] / "fixtures" / "rehearsal-example"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example, under a path with a space; scratch folders lie beside it."""
    folder = tmp_path / "my project"
    shutil.copytree(EXAMPLE, folder)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return folder


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    yield
    if "project" in request.fixturenames:
        assert list((tmp_path / "scratch").glob("ckpt-doctor*")) == []
        assert sorted(p.name for p in (tmp_path / "my project").iterdir() if not p.name.startswith("__")) == [
            "test_resume.py",
            "train.py",
        ]


def _rehearse(project: Path, *more: str, resume: str = "--resume {checkpoint}", **options: Any) -> Rehearsal:
    return rehearse([sys.executable, "train.py", *more], resume, folder=project, timeout=300, **options)


@pytest.mark.long
def test_a_healthy_training_resumes_identically(project: Path, tmp_path: Path) -> None:
    result = _rehearse(project, traces=tmp_path / "traces")
    assert result.as_saved.outcome == "identical"
    assert result.repaired is None
    assert result.holds(strict=True)
    assert result.checkpoint == "checkpoints/epoch_1.pt"
    assert result.as_saved.comparison.resumed_at == {0: 6}
    assert sorted(path.name for path in (tmp_path / "traces").iterdir()) == ["as-saved", "reference"]


@pytest.mark.long
def test_a_schedule_that_is_not_loaded_is_found_in_its_step(project: Path) -> None:
    result = _rehearse(project, "--forget-schedule", kill_after=14, steps=20)
    assert result.final.outcome == "differs"
    first = result.as_saved.comparison.restored[0]
    assert (first.quantity, first.step) == ("schedule", 13)
    assert not result.holds()
    assert result.as_saved.forgotten == ("scheduler",)
    assert "this script does not" in rehearsal_text(result)


@pytest.mark.long
def test_a_real_kill_finds_the_same(project: Path) -> None:
    result = _rehearse(project, kill_after=14, steps=20, kill=True)
    assert result.as_saved.outcome == "identical"
    assert result.checkpoint == "checkpoints/epoch_2.pt"


@pytest.mark.long
def test_outputs_go_where_workdir_stands(project: Path) -> None:
    assert _rehearse(project, "--save-dir", "{workdir}/out").checkpoint == "out/epoch_1.pt"


@pytest.mark.long
@pytest.mark.parametrize("where", ["outside", "within"])
def test_a_save_outside_stops_the_command_before_it_is_written(where: str, project: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" if where == "outside" else project / "elsewhere"
    with pytest.raises(RehearsalFailed, match=r"outside the rehearsal's folder.*\{workdir\}"):
        _rehearse(project, "--save-dir", str(target))
    assert not list(target.glob("*")) if target.exists() else True


@pytest.mark.long
def test_a_command_that_ends_before_the_kill_is_a_sentence(project: Path) -> None:
    with pytest.raises(RehearsalFailed, match="ended after 24 steps"):
        _rehearse(project, kill_after=100)


@pytest.mark.long
def test_a_command_that_ignores_what_makes_it_resume_is_a_sentence(project: Path) -> None:
    with pytest.raises(RehearsalFailed, match="the command did not resume"):
        _rehearse(project, resume="--epochs 4")


@pytest.mark.long
def test_children_do_not_outlive_a_rehearsal(project: Path) -> None:
    script = project / "train.py"
    script.write_text(
        "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid, flush=True)\nimport time; time.sleep(600)\n"
    )
    with pytest.raises(RehearsalFailed, match="not done"):
        rehearse([sys.executable, "train.py"], "", folder=project, timeout=3)
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "time.sleep(600)" not in left


def test_numbers_that_do_not_fit_are_refused_at_once(project: Path) -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        _rehearse(project, kill_after=10, steps=10)
    with pytest.raises(UsageError, match="needs --kill-after"):
        _rehearse(project, kill=True)


ENDLESS = (
    "import subprocess, sys, time, torch\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(613)'])\n"
    "p = torch.nn.Parameter(torch.ones(2)); o = torch.optim.SGD([p], lr=0.1)\n"
    "while True: p.sum().backward(); o.step(); time.sleep(0.01)\n"
)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_rehearsal_leaves_no_process_and_no_folder(number: int, project: Path, tmp_path: Path) -> None:
    (project / "train.py").write_text(ENDLESS)
    arguments = ["rehearse", "--resume", "x", "--", sys.executable, "train.py"]
    with subprocess.Popen(
        [sys.executable, "-m", "ckpt_doctor", *arguments],
        cwd=project,
        env=os.environ | {"TMPDIR": str(tmp_path / "scratch")},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until = time.monotonic() + 60
        while not list((tmp_path / "scratch").glob("*/traces/*/*.jsonl")):
            assert time.monotonic() < until
            time.sleep(0.1)
        process.send_signal(number)
        said = process.communicate(timeout=30)[1]
    assert "Traceback" not in said
    assert process.returncode == (130 if number == signal.SIGINT else 128 + number)
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "time.sleep(613)" not in left
    assert not [line for line in left.splitlines() if "train.py" in line and str(tmp_path) in line]
