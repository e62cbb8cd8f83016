"""Processes that begin their work together."""

import os
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def start(code: str, *arguments: object) -> subprocess.Popen:
    """A process that waits for a line before it begins."""
    line = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(line, stdin=-1, stdout=-1, stderr=-1, text=True, env=ENVIRONMENT)
    assert "ready\n" == process.stdout.readline()
    return process


def go(*processes: subprocess.Popen) -> None:
    """Let them all begin at once."""
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


def train_beside(trainer: subprocess.Popen, doctor: subprocess.Popen, stop: Path, timeout: int) -> None:
    """Let a trainer save to its end while a doctor migrates until there is a file `stop`: neither complains."""
    with trainer, doctor:
        go(trainer, doctor)
        try:
            assert ("", "") == trainer.communicate(timeout=timeout)
        finally:
            stop.touch()  # or the doctor, and with it the test, would never end
        done, complaint = doctor.communicate(timeout=timeout)
        assert "" == complaint
        assert int(done) > 0
