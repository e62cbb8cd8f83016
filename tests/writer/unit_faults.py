"""As `faults`, of a unit: `unit_faults.py sweep FOLDER SCENARIO KIND`, and `run FOLDER SCENARIO` for strace."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from ckpt_doctor import writer
from ckpt_doctor.writer import staging, unit_commit
from tests.writer import faults
from tests.writer.faults import Scene, child, complaints
from tests.writer.sample_units import EDITS, NAME, make_unit, opened, snapshot

RECORD = {"tool_version": "0", "edits": []}
SCENARIOS = ("write", "undo", "output", "write-without-exchange", "undo-without-exchange", "write-without-links")


def migrate(unit: Path, edits=EDITS, **options) -> object:
    """Write the edits into the unit, as a caller does."""
    checkpoint = opened(unit)
    changes = writer.part_changes(checkpoint, edits)
    return writer.write_unit(checkpoint, changes, RECORD, **{"verify": opened, **options})


def perform(run: Path, scenario: str) -> None:
    """One write or undo of the unit in `run`; or a write of it to `run/out`."""
    if "without-exchange" in scenario:
        unit_commit.exchange = lambda *_: False
    if "without-links" in scenario:
        staging._linked = lambda *_: False
    if scenario.startswith("undo"):
        writer.undo(run / NAME)
    elif scenario == "output":
        migrate(run / NAME, mode="output", output=run / "out")
    else:
        migrate(run / NAME)


def prepare(run: Path, scenario: str) -> tuple[dict, dict]:
    """Put the unit that the scenario begins with into the folder `run`; its state before and after."""
    unit = make_unit(run)
    original = snapshot(unit)
    migrate(unit)
    migrated = snapshot(unit)
    if scenario.startswith("undo"):
        return migrated, original
    writer.undo(unit)
    return original, migrated


def litter(run: Path) -> set[str]:
    """What lies in the run folder beside the unit, but for a lock that was left."""
    below = run / ".ckpt-doctor"
    found = {str(path.relative_to(run)) for path in below.rglob("*") if path.suffix != ".json" and not path.is_dir()}
    return found | {path.name for path in run.iterdir()} - {NAME, ".ckpt-doctor.lock"}


MIGRATED = {".ckpt-doctor", *(f".ckpt-doctor/{NAME}/1/{number}" for number in range(2))}


def timeless(state) -> dict:
    """The state of a folder, or a folder's, without its times."""
    state = snapshot(state) if isinstance(state, Path) else state
    return {name: (mode, 0, held) for name, (mode, _, held) in state.items()}


def _held(state: dict) -> dict:
    return {name: held for name, (_, _, held) in state.items()}


def scene(scenario: str, state: Callable[[Path], dict] = snapshot) -> Scene:
    """A unit, whose state is all that is in it."""
    return Scene(
        NAME,
        lambda run: perform(run, scenario),
        migrate,
        state,
        litter,
        MIGRATED,
        undoes=scenario.startswith("undo"),
        goes_elsewhere=scenario == "output",
        is_mixed="without-exchange" in scenario,
        held=_held,
    )


class Fault(faults.Fault):
    """Counts the calls that change folders, too."""

    def __init__(self, kind: str, at: int) -> None:
        super().__init__(kind, at)
        for name in ("mkdir", "rename", "rmdir", "symlink"):
            self._wrap(os, name)
        if "unit_commit.exchange" not in OFF:
            self._wrap(unit_commit, "exchange")


OFF: set[str] = set()


def sweep(folder: Path, scenario: str, kind: str, step: str) -> dict:
    """Strike at each of so many writing calls in turn; `{"points": n, "complaints": [...]}`."""
    os.fsync = lambda fd: None  # nobody cuts the power here
    if "without-exchange" in scenario:
        OFF.add("unit_commit.exchange")
    found, at = [], 1
    first = folder / "first"
    first.mkdir()
    before, after = prepare(first, scenario)
    judged = scene(scenario)
    if kind.startswith("E"):  # a disk that refuses times is no reason to refuse the repair
        judged, before, after = scene(scenario, timeless), timeless(before), timeless(after)
    while True:
        work = folder / "work"
        shutil.copytree(first, work, symlinks=True)
        copied(first, work)
        status = child(work, scenario, kind, at, perform, Fault)
        if status == 99:
            return {"points": at - 1, "complaints": found}
        if kind == "interrupt" and scenario != "output" and litter(work) - MIGRATED:
            found.append([at, f"an interrupt left {sorted(litter(work))}"])
        found += [[at, text] for text in complaints(judged, work, status, before, after)]
        shutil.rmtree(work)
        at += int(step)


def copied(one: Path, other: Path) -> None:
    """Give what was copied the times that it had; `copytree` rounds none, and leaves out those of links."""
    for path in one.rglob("*"):
        status = path.lstat()
        os.utime(other / path.relative_to(one), ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


if __name__ == "__main__":
    sys.exit(faults.main(perform, sweep))
