"""`ckpt-doctor scan` as a process with worker processes: how it is told of them, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from ckpt_doctor.errors import UsageError
from tests.audit.test_scanning_work import loop_run

REPO = Path(__file__).parents[2]
SLOW = """
import os, time
from pathlib import Path
from ckpt_doctor import audit
from ckpt_doctor.advice.reporting import Shelf

def audit_run(folder, files, ask, real=audit.audit_run):
    if folder.name == "slow":
        Path("slow.pid").write_text(str(os.getpid()))
        time.sleep(120)
    return real(folder, files, ask)

def put(self, number, run, real=Shelf.put):
    real(self, number, run)
    Path(f"{number}.put").touch()

audit.audit_run, Shelf.put = audit_run, put
"""
"""A start-up of Python in which the judgement of one run takes long, in whichever process it is, and what has come of
the others is marked."""


@pytest.fixture
def scanning(tmp_path: Path) -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    """Starts a scan of three runs, and returns when two are judged and the third one is at hand."""
    for name in ("a", "b", "slow"):
        loop_run(tmp_path / name, 16)
    start = tmp_path / ".start"
    start.mkdir()
    (start / "sitecustomize.py").write_text(SLOW)
    processes: list[subprocess.Popen[str]] = []

    def begin(jobs: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ckpt_doctor", "scan", "--jobs", str(jobs), "."]
        environment = {**os.environ, "PYTHONPATH": f"{start}{os.pathsep}{REPO}"}
        processes.append(
            subprocess.Popen(
                command,
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        wait_for(lambda: all((tmp_path / name).exists() for name in ("0.put", "1.put", "slow.pid")))
        return processes[0]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come to pass within a minute")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.long), 2])
def test_ctrl_c_ends_with_the_report_of_what_was_judged(scanning, tmp_path: Path, jobs: int) -> None:
    process = scanning(jobs)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers, too
    printed, notes = process.communicate(timeout=60)
    assert (130, "Interrupted before 1 of 3 runs were judged\n") == (process.returncode, notes)
    assert ["a", "b"] == re.findall(r"^(\w+): resume from", printed, re.M)
    assert "Interrupted before 1 of 3 runs were judged. " in " ".join(printed.split())
    wait_for(lambda: not is_running(int((tmp_path / "slow.pid").read_text())))


@pytest.mark.long
def test_workers_end_with_a_parent_that_is_killed(scanning, tmp_path: Path) -> None:
    scanning(2).kill()
    wait_for(lambda: not is_running(int((tmp_path / "slow.pid").read_text())))


def test_the_environment_and_the_settings_say_how_many_processes(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def report(*_: object, jobs: int | None, **__: object) -> None:
        asked.append(jobs)
        raise UsageError("enough")

    monkeypatch.setattr("ckpt_doctor.advice.report", report)
    run("scan", tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.ckpt-doctor]\njobs = 3\n")
    run("scan", tmp_path)
    monkeypatch.setenv("CKPT_DOCTOR_JOBS", "4")
    run("scan", tmp_path)
    run("scan", tmp_path, "--jobs", "5")
    assert [None, 3, 4, 5] == asked
    (tmp_path / "pyproject.toml").write_text("[tool.ckpt-doctor]\njobs = 0\n")
    assert "jobs must be a whole number above 0" in run("scan", tmp_path).output
