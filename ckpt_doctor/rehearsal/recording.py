"""A trace of this process, or of a command with a recorder in each of its Python processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ckpt_doctor.errors import UsageError
from ckpt_doctor.rehearsal import recorder

STARTUP = Path(__file__).parent / "startup"
"""Holds the `sitecustomize` that Python runs as it starts."""
SETTINGS = "CKPT_DOCTOR_RECORDING"
"""The variable by which the recorder's settings reach every process of the command."""


def environment(settings: dict[str, Any]) -> dict[str, str]:
    """The variables under which each Python process records: `settings` are those of `recorder.Recorder`."""
    path = os.pathsep.join(filter(None, (str(STARTUP), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path, SETTINGS: json.dumps(settings)}


def new_folder(folder: Path) -> Path:
    """The folder of a trace that is about to be recorded; a UsageError where there is one, or it cannot be made."""
    if folder.exists():
        raise UsageError(f"{folder} exists; a trace is never written over: give another name, or remove it")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"cannot make {folder}: {error.strerror}") from error
    return folder.absolute()


def found(command: Sequence[str]) -> list[str]:
    """The command; a UsageError where there is no such program."""
    if not command:
        raise UsageError("no command to run; it comes last, after --: ckpt-doctor record -- python train.py")
    if shutil.which(command[0]) is None:
        raise UsageError(f"there is no program {command[0]!r} here")
    return list(command)


def run_recorded(command: Sequence[str], folder: Path) -> int:
    """Run a command to its end and return its exit code as a shell has it (128 + number after a signal).

    The command has this process's terminal. Ctrl-C is its own matter: it is waited for.
    """
    process = subprocess.Popen(found(command), env=environment({"folder": str(folder)}))  # noqa: S603
    with _passed_on(process):
        code = process.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Within: SIGTERM goes to the command, and Ctrl-C, which the terminal sends to both, ends only the command."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _frame: process.send_signal(number)),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def record(trace: Path | str) -> Iterator[Path]:
    """Record what the training in this block does.

    Args:
        trace: the folder to write; it must not exist.

    Yields:
        The folder, with a file per process that makes optimizer steps.

    Raises:
        UsageError: the folder exists or cannot be made.

    Example:
        >>> with record("run.trace"):
        ...     train()
    """
    import torch  # noqa: F401  # the recorder hooks what is imported

    folder = new_folder(Path(trace))
    recorder.start({"folder": str(folder)})
    try:
        yield folder
    finally:
        recorder.stop()
