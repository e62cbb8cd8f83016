"""The scratch folder of a rehearsal, in which nothing of the user's is written, and the recorded runs in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt_doctor.errors import CkptDoctorError, UsageError
from ckpt_doctor.rehearsal.recording import environment
from ckpt_doctor.rehearsal.traces import Trace, read_traces

PATIENCE = 5.0
"""Seconds that a command has to end by itself."""
PAUSE = 0.02
"""Seconds between two looks at what a run has said."""
LINKED_WHOLE = (".git", ".hg", ".svn", "node_modules", "__pycache__")
"""Folders that no training writes to."""
MOST = 20_000
"""Entries that are linked one by one; a folder beyond is linked whole."""


class RehearsalFailed(CkptDoctorError):
    """The rehearsal came to no result; the message says in which run, why, and what to do."""


@dataclass(frozen=True)
class Stage:
    """Where a command runs, and how long it may."""

    root: Path
    """The scratch folder: it holds the working folder, the traces and what the runs print."""
    folder: Path
    """The user's own working folder, which nothing may be written to."""
    command: tuple[str, ...]
    timeout: float
    traces: Path

    @property
    def work(self) -> Path:
        """The working folder of every run: the same path, so that what a checkpoint says about paths holds."""
        return self.root / "work"

    def log(self, name: str) -> Path:
        """What a run printed."""
        return self.root / f"{name}.log"

    def run(
        self, name: str, extra: Sequence[str] = (), frozen: Callable[[int], object] | None = None, **settings: Any
    ) -> list[Trace]:
        """Record one run in the scratch folder.

        Args:
            name: what the run is called in messages, and its traces.
            extra: arguments added to the command.
            frozen: called with the number of steps while every rank waits after the step `freeze_at`.
            settings: of the recorder.

        Raises:
            RehearsalFailed: it fails, hangs, makes no steps, or was about to write outside the scratch folder.
        """
        control = self.root / f"control-{name}"
        control.mkdir()
        told = {"folder": str(self.traces / name), "control": str(control)}
        told |= {"inside": str(self.root), "spare": str(self.folder)}
        variables = environment(told | settings) | {"PYTHONDONTWRITEBYTECODE": "1"}
        command = [word.replace("{workdir}", str(self.work)) for word in (*self.command, *extra)]
        with self.log(name).open("wb") as output:
            process = subprocess.Popen(  # noqa: S603
                command,
                cwd=self.work,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                self._watch(name, process, control, frozen)
            finally:
                _end(process, control)
        _must_be_inside(control)
        if process.returncode != 0 and not settings.get("kill"):
            said = self._last_words(name)
            raise RehearsalFailed(f"the {name} run failed with exit code {process.returncode}: {said}")
        try:
            return read_traces(self.traces / name)
        except UsageError:
            raise RehearsalFailed(
                "no optimizer of torch made a step in the command, or its Python starts without site packages "
                "(python -I, -E, a replaced PYTHONPATH)"
            ) from None

    def _watch(
        self, name: str, process: subprocess.Popen[bytes], control: Path, frozen: Callable[[int], object] | None
    ) -> None:
        """Wait for the process to end; call `frozen` when all ranks wait, and keep the time."""
        latest = time.monotonic() + self.timeout
        go = control / "go"
        while process.poll() is None:
            if time.monotonic() > latest:
                raise RehearsalFailed(f"the {name} run was not done in {self.timeout:.0f} s; give --timeout SECONDS")
            _must_be_inside(control)
            waiting = [json.loads(path.read_text()) for path in control.glob("frozen-*") if path.suffix == ""]
            if waiting and frozen is not None and not go.exists():
                world, step = waiting[0]
                if len(waiting) == world:
                    frozen(step)
                    go.touch()
            time.sleep(PAUSE)

    def _last_words(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) if lines else "it printed nothing"


def _must_be_inside(control: Path) -> None:
    """Raise where a process was about to write elsewhere: it ended itself before."""
    if (control / "outside").exists():
        what, path = json.loads((control / "outside").read_text())
        verb = "save a checkpoint to" if what == "save" else "write to"
        raise RehearsalFailed(
            f"the command was about to {verb} {path}, outside the rehearsal's folder, and was stopped; nothing was "
            "written. Have its outputs go to a relative path, or put {workdir} into the command where they go"
        )


def _end(process: subprocess.Popen[bytes], control: Path) -> None:
    """End what a command left running: its group, and every Python process that has announced itself."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for announced in control.glob("pid-*"):
        number = int(announced.name.removeprefix("pid-"))
        if _is_of(number, control):
            with contextlib.suppress(OSError):
                os.kill(number, signal.SIGKILL)


def _is_of(number: int, control: Path) -> bool:
    """Whether a process is the one that announced itself: numbers are given anew."""
    try:
        return os.fsencode(str(control)) in Path(f"/proc/{number}/environ").read_bytes()
    except FileNotFoundError:
        return not Path("/proc").exists()
    except OSError:
        return False


def mirror(folder: Path, target: Path) -> None:
    """Make `target` a folder of the same folders, with a link to each file: what is new in it is not in `folder`.

    Virtual environments, version control and what is too much are linked whole.
    """
    target.mkdir(parents=True)
    left = MOST
    todo = [(folder, target)]
    while todo:
        source, copy = todo.pop()
        for entry in os.scandir(source):
            left -= 1
            below = copy / entry.name
            if entry.is_dir(follow_symlinks=False) and left > 0 and not _is_whole(Path(entry.path), target):
                below.mkdir()
                todo.append((Path(entry.path), below))
            elif Path(entry.path) != target:
                below.symlink_to(Path(entry.path).absolute())


def _is_whole(folder: Path, target: Path) -> bool:
    """Whether a folder is linked as one; the scratch folder itself is never gone into."""
    return folder.name in LINKED_WHOLE or (folder / "pyvenv.cfg").exists() or target.is_relative_to(folder)


def copied(source: Path, target: Path) -> None:
    """Copy a mirrored folder as it is at this moment: files that the command wrote, and links as links.

    A file that vanishes meanwhile was not there.
    """
    target.mkdir()
    for folder, _, files in os.walk(source):
        below = target / Path(folder).relative_to(source)
        below.mkdir(exist_ok=True)
        for entry in os.scandir(folder):
            try:
                if entry.is_symlink():
                    (below / entry.name).symlink_to(Path(entry.path).readlink())
                elif entry.name in files and entry.is_file():
                    shutil.copy2(entry.path, below / entry.name)
            except FileNotFoundError:
                continue
