"""Saves and prunes that are killed or failed at each of their writing system calls.

`save_faults.py sweep FOLDER SCENARIO` tries every call and every kind of fault, and prints what went wrong;
`save_faults.py run FOLDER SCENARIO` does the work once, for strace to interfere with.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from ckpt_doctor.training.retention import Step, contents, keep_newest
from ckpt_doctor.training.saving import atomic_save
from tests.writer.faults import CUT_OFF, KINDS, REFUSED, Fault, child, main

SCENARIOS = ("first save", "save", "prune")
KEPT = [30, 40, 50]


def state(epoch: int) -> dict:
    """A checkpoint that knows which save it came from, with weights that do too."""
    return {"epoch": epoch, "w": torch.full((5_000,), float(epoch))}


def step_of(folder: Path) -> int | None:
    """N of `checkpoint_step_N`."""
    head, _, number = folder.name.rpartition("_")
    return int(number) if head == "checkpoint_step" else None


def prune(folder: Path) -> None:
    """Keep the three newest steps."""

    def find_steps() -> list[Step]:
        steps = [(number, path) for path in folder.iterdir() if (number := step_of(path)) is not None]
        return [Step((number,), path, (path / "checkpoint.pt").exists(), contents(path)) for number, path in steps]

    keep_newest(folder, len(KEPT), find_steps=find_steps)


def prepare(folder: Path, scenario: str) -> None:
    """What the scenario begins with, in the empty `folder`."""
    if scenario == "save":
        torch.save(state(1), folder / "checkpoint")
    elif scenario == "prune":
        for step in (10, 20, *KEPT):
            (folder / f"checkpoint_step_{step}").mkdir()
            for name in ("checkpoint.pt", "scaler.pt"):
                (folder / f"checkpoint_step_{step}" / name).write_bytes(b"weights" * 100)


def perform(folder: Path, scenario: str) -> None:
    """Save epoch 2 over what is there, or prune."""
    if scenario == "prune":
        prune(folder)
    else:
        atomic_save(state(2), folder / "checkpoint")


def complaints(folder: Path, scenario: str, status: int) -> list[str]:
    """What a user could complain of after the run ended with `status`, and after the next run."""
    found = [] if status in (0, REFUSED, *CUT_OFF) else [f"exit status {status}"]
    return found + (_of_prune(folder, status) if scenario == "prune" else _of_save(folder, scenario, status))


def _of_save(folder: Path, scenario: str, status: int) -> list[str]:
    path, found = folder / "checkpoint", []
    epoch = _epoch(path)
    if epoch not in (2, 1 if scenario == "save" else None):
        found.append(f"the path holds neither the old nor the new checkpoint but {epoch} (exit {status})")
    if (status == 0 and epoch != 2) or (status in (REFUSED, 143) and scenario == "save" and epoch is None):
        found.append(f"exit {status} does not fit epoch {epoch}")
    atomic_save(state(3), path)
    if _epoch(path) != 3 or os.listdir(folder) != ["checkpoint"]:
        found.append(f"the next save gives {_epoch(path)} and leaves {sorted(os.listdir(folder))}")
    return found


def _epoch(path: Path) -> object:
    if not path.exists():
        return None
    held = torch.load(path)
    return held["epoch"] if torch.equal(held["w"], state(held["epoch"])["w"]) else "torn weights"


def _of_prune(folder: Path, status: int) -> list[str]:
    found = []
    for step in (path for path in folder.iterdir() if path.is_dir() and step_of(path) is not None):
        if sorted(os.listdir(step)) != ["checkpoint.pt", "scaler.pt"]:
            found.append(f"{step.name} is a half folder (exit {status})")
    prune(folder)
    left = sorted(os.listdir(folder))
    if left != [f"checkpoint_step_{step}" for step in KEPT]:
        found.append(f"the next prune leaves {left}")
    return found


class SavingFault(Fault):
    """Also strikes within `torch.save`, half of whose bytes are then written, and at the removal of folders."""

    def __init__(self, kind: str, at: int) -> None:
        super().__init__(kind, at)
        for name in ("rename", "rmdir"):
            self._wrap(os, name)
        save = torch.save

        def half(held: object, file) -> None:
            self.calls += 1
            if self.calls == self.at:
                file.write(b"PK\x03\x04" + b"half a file" * 500)
                file.flush()
                self._strike(save, "save", (held, file))
            save(held, file)

        torch.save = half


def sweep(folder: Path, scenario: str) -> dict:
    """Every kind of fault at every writing call; `{"points": {kind: n}, "complaints": [...]}`."""
    points, found = {}, []
    for kind in KINDS:
        at, status = 0, 0
        while status != 99:
            at += 1
            work = folder / f"{kind}-{at}"
            work.mkdir()
            prepare(work, scenario)
            status = child(work, scenario, kind, at, perform, SavingFault)
            found += [[kind, at, text] for text in complaints(work, scenario, 0 if status == 99 else status)]
        points[kind] = at - 1
    return {"points": points, "complaints": found}


if __name__ == "__main__":
    sys.exit(main(perform, sweep))
