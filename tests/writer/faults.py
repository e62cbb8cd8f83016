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


def complaints(folder: Path, scenario: str, status: int, before: bytes, after: bytes) -> list[str]:
    """What a user could complain of after the run ended with `status`, and after the next run."""
    action, container, in_place = SCENARIOS[scenario]
    if action == "output":
        return complaints_of_output(folder, scenario, status, before, after)
    path = folder / "checkpoint"
    found = []
    now = path.read_bytes()
    journal = writer.interrupted(path)
    if now not in (before, after) and not (in_place and action == "write" and journal is not None):
        found.append(f"the path holds neither the old nor the new file, and no journal tells (exit {status})")
    if status == 0 and now != after:
        found.append("success was reported, and the new file is not there")
    if status == REFUSED and now != before:
        found.append("a refusal was reported, and the old file is not there")
    if status not in (0, REFUSED, 137, 143):
        found.append(f"exit status {status}")
    writer.recover(path)
    now = path.read_bytes()
    if now not in (before, after):
        found.append("after the next run the path holds neither the old nor the new file")
    if writer.interrupted(path) is not None:
        found.append("the next run left the journal")
    stays = {"checkpoint"}
    original, migrated = (before, after) if action == "write" else (after, before)
    if container != "torch-zip" and now == migrated:
        stays.add("checkpoint.ckpt-doctor-undo")
    if litter(folder) != stays:
        found.append(f"litter or missing undo data: {sorted(litter(folder) ^ stays)}")
    # And it can go on: forward to the migrated file, back to the original.
    if now == original:
        checkpoint, program = edited(path, container)
        writer.write(checkpoint, program, RECORD, verify=lambda result: None)
    if path.read_bytes() != migrated:
        found.append("the migration cannot be repeated to the same bytes")
    writer.undo(path)
    if path.read_bytes() != original or litter(folder) != {"checkpoint"}:
        found.append("the undo afterwards does not give the original alone")
    return found


def complaints_of_output(folder: Path, scenario: str, status: int, before: bytes, after: bytes) -> list[str]:
    """The same of a result that goes elsewhere: the original stays, the result is there whole or not at all."""
    found = []
    result = writer.output_path(folder / "checkpoint", folder / "out")
    if (folder / "checkpoint").read_bytes() != before or {path.name for path in folder.iterdir()} - {"out"} != {
        "checkpoint"
    }:
        found.append("the original, or something beside it, was touched")
    if result.exists() != (status == 0) and status not in (137, 143):  # killed or interrupted after the rename
        found.append(f"exit {status}, and the result is {'there' if result.exists() else 'not there'}")
    if result.exists() and result.read_bytes() != after:
        found.append("the result is not whole")
    if status not in (0, REFUSED, 137, 143):
        found.append(f"exit status {status}")
    if status in (REFUSED, 143) and (folder / "out").exists() and not result.exists():
        found.append(f"a refusal left {sorted(path.name for path in (folder / 'out').rglob('*'))}")
    if not result.exists():
        perform(folder, scenario)
    stays = {"checkpoint"} if "zip" in scenario else {"checkpoint", "checkpoint.ckpt-doctor-undo"}
    writer.recover(result)
    if result.read_bytes() != after or litter(result.parent) != stays:
        found.append(f"after the next run: {sorted(litter(result.parent))}")
    writer.undo(result)
    if result.read_bytes() != before:
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
    sample = folder / "sample"
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
        found += [[at, text] for text in complaints(work, scenario, status, before, after)]


if __name__ == "__main__":
    command, folder, scenario, *rest = sys.argv[1:]
    if command == "sweep":
        print(json.dumps(sweep(Path(folder), scenario, *rest)))
    else:
        try:
            perform(Path(folder), scenario)
        except WriteRefused as refusal:
            print(refusal, file=sys.stderr)
            sys.exit(REFUSED)
