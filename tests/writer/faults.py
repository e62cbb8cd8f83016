"""Writes, undos and recoveries that are killed or failed at each of their writing system calls.

Run as a script it stays free of torch, so that a fork is cheap: `faults.py sweep FOLDER SCENARIO KIND` tries every call
in turn and prints what went wrong; `faults.py run FOLDER SCENARIO` does the work once, for strace to interfere with.
"""

import errno
import fcntl
import json
import os
import sys
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ckpt_doctor import writer
from ckpt_doctor.errors import VerificationFailed, WriteRefused
from ckpt_doctor.writer import commit
from tests.writer.sample_files import checkpoint_of, edited, litter

RECORD = {"when": "2026-01-26T12:00:00+00:00", "tool_version": "0", "edits": []}
SCENARIOS = {
    # action, container, in place
    "replace-zip": ("write", "torch-zip", False),
    "in-place-zip": ("write", "torch-zip", True),
    "undo-zip": ("undo", "torch-zip", False),
    "undo-zip-in-place": ("undo", "torch-zip", True),
    "replace-stream": ("write", "torch-legacy", False),
    "undo-stream": ("undo", "torch-legacy", False),
    "output-zip": ("output", "torch-zip", False),
    "output-stream": ("output", "torch-legacy", False),
}
KINDS = ("kill", "torn", "interrupt", "ENOSPC", "EIO")
REFUSED = 3
CUT_OFF = (137, 143)
"""Exit codes of a run that was killed or interrupted."""


def perform(folder: Path, scenario: str) -> None:
    """One write or undo of `folder/checkpoint`; or a write of it to `folder/out`."""
    action, container, in_place = SCENARIOS[scenario]
    path = folder / "checkpoint"
    if action == "undo":
        writer.undo(path, in_place=in_place)
        return
    checkpoint, program = edited(path, container)
    mode = "in-place" if in_place else "output" if action == "output" else "replace"

    def verify(result: Path) -> None:
        try:
            checkpoint_of(result, container)
        except (ValueError, zipfile.BadZipFile) as error:
            raise VerificationFailed("the result does not read") from error

    writer.write(checkpoint, program, RECORD, mode=mode, output=folder / "out", verify=verify)


def prepare(sample: Path, folder: Path, scenario: str) -> tuple[bytes, bytes]:
    """Put the file that the scenario begins with into the empty `folder`; returns its bytes before and after."""
    action, container, _ = SCENARIOS[scenario]
    path = folder / "checkpoint"
    path.write_bytes(sample.read_bytes())
    original = path.read_bytes()
    checkpoint, program = edited(path, container)
    writer.write(checkpoint, program, RECORD, verify=lambda result: None)
    migrated = path.read_bytes()
    if action == "undo":
        return migrated, original
    writer.undo(path)
    return original, migrated


@dataclass(frozen=True)
class Scene:
    """What a scenario writes, and how one looks at it."""

    name: str
    """Of the checkpoint in its run folder."""
    perform: Callable[[Path], object]
    migrate: Callable[[Path], object]
    state: Callable[[Path], object]
    litter: Callable[[Path], set[str]]
    """What lies in a run folder beside the checkpoint."""
    undo_data: set[str]
    """The litter of a migrated checkpoint."""
    undoes: bool = False
    goes_elsewhere: bool = False
    is_mixed: bool = False
    """Whether a kill may leave a checkpoint that is neither, as long as something tells."""
    held: Callable[[object], object] = lambda state: state
    """The state less modes and times."""


def scene(scenario: str) -> Scene:
    """A file, whose state is its bytes."""
    action, container, in_place = SCENARIOS[scenario]
    return Scene(
        "checkpoint",
        lambda folder: perform(folder, scenario),
        lambda path: writer.write(*edited(path, container), RECORD, verify=lambda result: None),
        Path.read_bytes,
        lambda folder: litter(folder, "checkpoint"),
        set() if container == "torch-zip" else {"checkpoint.ckpt-doctor-undo"},
        undoes=action == "undo",
        goes_elsewhere=action == "output",
        is_mixed=in_place and action == "write",
    )


def complaints(scene: Scene, folder: Path, status: int, before: object, after: object) -> list[str]:
    """What a user could complain of after the run ended with `status`, and after the next run."""
    found = [] if status in (0, REFUSED, *CUT_OFF) else [f"exit status {status}"]
    of = _of_output if scene.goes_elsewhere else _of_path
    return found + of(scene, folder, status, before, after)


def _of_path(scene: Scene, folder: Path, status: int, before: object, after: object) -> list[str]:
    path, found = folder / scene.name, []
    now = scene.held(scene.state(path))
    if now not in (scene.held(before), scene.held(after)) and not (scene.is_mixed and _is_half_done(path)):
        found.append(f"the path holds neither the old nor the new checkpoint, and nothing tells (exit {status})")
    if status == 0 and now != scene.held(after):
        found.append("success was reported, and the new checkpoint is not there")
    if status == REFUSED and now != scene.held(before):
        found.append("a refusal was reported, and the old checkpoint is not there")
    writer.recover(path)
    now = scene.state(path)
    if now not in (before, after):
        found.append("after the next run the path holds neither the old nor the new checkpoint")
    if _is_half_done(path):
        found.append("the next run left it half done")
    original, migrated = (after, before) if scene.undoes else (before, after)
    if scene.litter(folder) != (scene.undo_data if now == migrated else set()):
        found.append(f"litter or missing undo data: {sorted(scene.litter(folder))}")
    # And it can go on: forward to the migrated checkpoint, back to the original.
    if now == original:
        scene.migrate(path)
    if scene.state(path) != migrated:
        found.append("the migration cannot be repeated to the same state")
    writer.undo(path)
    if scene.state(path) != original or scene.litter(folder):
        found.append(f"the undo afterwards does not give the original alone: {sorted(scene.litter(folder))}")
    return found


def _is_half_done(path: Path) -> bool:
    return bool(writer.interrupted(path) or writer.came_out(path))


def _of_output(scene: Scene, folder: Path, status: int, before: object, after: object) -> list[str]:
    """The same of a result that goes elsewhere: the original stays, the result is there whole or not at all."""
    path, out, found = folder / scene.name, folder / "out", []
    result = writer.output_path(path, out)
    if scene.state(path) != before or {inside.name for inside in folder.iterdir()} - {"out"} != {scene.name}:
        found.append("the original, or something beside it, was touched")
    if result.exists() != (status == 0) and status not in CUT_OFF:  # which can be after the rename
        found.append(f"exit {status}, and the result is {'there' if result.exists() else 'not there'}")
    if result.exists() and scene.state(result) != after:
        found.append("the result is not whole")
    if status in (REFUSED, 143) and out.exists() and not result.exists():
        found.append(f"a refusal left {sorted(inside.name for inside in out.rglob('*'))}")
    if not result.exists():
        scene.perform(folder)
    writer.recover(result)
    if scene.state(result) != after or scene.litter(result.parent) != scene.undo_data:
        found.append(f"after the next run: {sorted(scene.litter(result.parent))}")
    writer.undo(result)
    if scene.state(result) != before:
        found.append("the undo afterwards does not give the original")
    return found


class Fault:
    """Counts the writing calls of this process and interferes with one of them."""

    def __init__(self, kind: str, at: int) -> None:
        self.kind, self.at, self.calls = kind, at, 0
        for name in (
            "pwrite",
            "write",
            "copy_file_range",
            "fsync",
            "ftruncate",
            "replace",
            "unlink",
            "link",
            "fchmod",
            "utime",
        ):
            self._wrap(os, name)
        self._wrap(fcntl, "ioctl")
        self._wrap(commit, "exchange")
        self._wrap(os, "open")

    def _wrap(self, module: object, name: str) -> None:
        real = getattr(module, name)

        def call(*args: object, **kwargs: object) -> object:
            if name == "open" and not args[1] & os.O_CREAT:
                return real(*args, **kwargs)
            self.calls += 1
            if self.calls == self.at:
                self._strike(real, name, args)
            return real(*args, **kwargs)

        setattr(module, name, call)

    def _strike(self, real: object, name: str, args: tuple) -> None:
        if self.kind == "torn" and name == "pwrite":
            fd, data, offset = args
            real(fd, data[: len(data) // 2], offset)
        if self.kind in ("kill", "torn"):
            os._exit(137)
        if self.kind == "interrupt":
            raise KeyboardInterrupt
        raise OSError(getattr(errno, self.kind), os.strerror(getattr(errno, self.kind)))


def child(folder: Path, scenario: str, kind: str, at: int, act=perform, faulty=Fault) -> int:
    """Do the work with one fault in a forked process: its exit status, or 99 when it has no call number `at`."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        fault = faulty(kind, at)
        try:
            act(folder, scenario)
            status = 0 if fault.calls >= at else 99
        except WriteRefused:
            status = REFUSED
        except KeyboardInterrupt:
            status = 143
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def sweep(folder: Path, scenario: str, kind: str) -> dict:
    """Strike at every writing call in turn; `{"points": n, "complaints": [...]}`."""
    sample, judged = folder / "sample", scene(scenario)
    found, at = [], 0
    while True:
        at += 1
        work = folder / f"at-{at}"
        work.mkdir()
        before, after = prepare(sample, work, scenario)
        status = child(work, scenario, kind, at)
        if status == 99:
            return {"points": at - 1, "complaints": found}
        if kind not in ("kill", "torn") and SCENARIOS[scenario][0] != "output":
            left = litter(work, "checkpoint", "checkpoint.ckpt-doctor-undo", ".ckpt-doctor.lock")
            if left and kind == "interrupt":
                found.append([at, f"an interrupt left {sorted(left)}"])
        found += [[at, text] for text in complaints(judged, work, status, before, after)]


def main(perform: Callable[[Path, str], object], sweep: Callable[..., dict]) -> int:
    """Sweep, and print what went wrong; or do the work once, and exit as it ended."""
    command, folder, scenario, *rest = sys.argv[1:]
    if command == "sweep":
        print(json.dumps(sweep(Path(folder), scenario, *rest)))
        return 0
    try:
        perform(Path(folder), scenario)
    except WriteRefused as refusal:
        print(refusal, file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(perform, sweep))
