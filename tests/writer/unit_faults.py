"""As `faults`, of a unit: `unit_faults.py sweep FOLDER SCENARIO KIND`, and `run FOLDER SCENARIO` for strace."""

import json
import os
import shutil
import sys
from pathlib import Path

from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.writer import staging, unit_commit
from tests.writer import faults
from tests.writer.faults import REFUSED, child
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


def complaints(run: Path, scenario: str, status: int, before: dict, after: dict, snapshot=snapshot) -> list[str]:
    """What a user could complain of after the run ended with `status`, and after the next run."""
    if scenario == "output":
        return complaints_of_output(run, status, before, after, snapshot)
    unit = run / NAME
    found = []
    now = _held(snapshot(unit))
    told = "without-exchange" in scenario and writer.came_out(unit) is not None
    if now not in (_held(before), _held(after)) and not told:
        found.append(f"the path holds neither the old nor the new unit, and nothing tells (exit {status})")
    if status == 0 and now != _held(after):
        found.append("success was reported, and the new unit is not there")
    if status == REFUSED and now != _held(before):
        found.append("a refusal was reported, and the old unit is not there")
    if status not in (0, REFUSED, 137, 143):
        found.append(f"exit status {status}")
    writer.recover(unit)
    now = snapshot(unit)
    if now not in (before, after):
        found.append(
            f"after the next run: {[name for name in now if now[name] not in (before.get(name), after.get(name))]}"
        )
    if writer.came_out(unit) is not None:
        found.append("the next run left it half done")
    original, migrated = (after, before) if scenario.startswith("undo") else (before, after)
    if litter(run) != (MIGRATED if now == migrated else set()):
        found.append(f"litter or missing undo data: {sorted(litter(run))}")
    if now == original:
        migrate(unit)
    if snapshot(unit) != migrated:
        found.append("the migration cannot be repeated to the same state")
    writer.undo(unit)
    if snapshot(unit) != original or litter(run):
        found.append(f"the undo afterwards does not give the original alone: {sorted(litter(run))}")
    return found


def complaints_of_output(run: Path, status: int, before: dict, after: dict, snapshot) -> list[str]:
    """The same of a result that goes elsewhere."""
    found = []
    unit, result = run / NAME, writer.output_path(run / NAME, run / "out")
    if snapshot(unit) != before or {path.name for path in run.iterdir()} - {"out"} != {NAME}:
        found.append("the original, or something beside it, was touched")
    if result.exists() != (status == 0) and status not in (137, 143):
        found.append(f"exit {status}, and the result is {'there' if result.exists() else 'not there'}")
    if result.exists() and snapshot(result) != after:
        found.append("the result is not whole")
    if status not in (0, REFUSED, 137, 143):
        found.append(f"exit status {status}")
    if status in (REFUSED, 143) and (run / "out").exists() and not result.exists():
        found.append(f"a refusal left {sorted(path.name for path in (run / 'out').rglob('*'))}")
    if not result.exists():
        perform(run, "output")
    writer.recover(result)
    if snapshot(result) != after or litter(result.parent) != MIGRATED:
        found.append(f"after the next run: {sorted(litter(result.parent))}")
    writer.undo(result)
    if snapshot(result) != before:
        found.append("the undo afterwards does not give the original")
    return found


class Fault(faults.Fault):
    """Counts the calls that change folders, too."""

    def __init__(self, kind: str, at: int) -> None:
        super().__init__(kind, at)
        for name in ("mkdir", "rename", "rmdir", "symlink"):
            self._wrap(os, name)
        if "unit_commit.exchange" not in OFF:
            self._wrap(unit_commit, "exchange")


OFF: set[str] = set()


def sweep(folder: Path, scenario: str, kind: str, step: int = 1) -> dict:
    """Strike at every writing call in turn, or at each of so many; `{"points": n, "complaints": [...]}`."""
    if "without-exchange" in scenario:
        OFF.add("unit_commit.exchange")
    found, at = [], 1
    first = folder / "first"
    first.mkdir()
    before, after = prepare(first, scenario)
    state_of = snapshot
    if kind.startswith("E"):  # a disk that refuses times is no reason to refuse the repair
        state_of, before, after = timeless, timeless(before), timeless(after)
    while True:
        work = folder / "work"
        shutil.copytree(first, work, symlinks=True)
        copied(first, work)
        status = child(work, scenario, kind, at, perform, Fault)
        if status == 99:
            return {"points": at - 1, "complaints": found}
        if kind == "interrupt" and scenario != "output" and litter(work) - MIGRATED:
            found.append([at, f"an interrupt left {sorted(litter(work))}"])
        found += [[at, text] for text in complaints(work, scenario, status, before, after, state_of)]
        shutil.rmtree(work)
        at += step


def copied(one: Path, other: Path) -> None:
    """Give what was copied the times that it had; `copytree` rounds none, and leaves out those of links."""
    for path in one.rglob("*"):
        status = path.lstat()
        os.utime(other / path.relative_to(one), ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def run(folder: Path, scenario: str) -> int:
    """Do the work once, for strace to interfere with; its exit status."""
    try:
        perform(folder, scenario)
    except WriteRefused as refusal:
        print(refusal, file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    command, folder, scenario, *rest = sys.argv[1:]
    if command == "run":
        sys.exit(run(Path(folder), scenario))
    os.fsync = lambda fd: None  # nobody cuts the power here
    print(json.dumps(sweep(Path(folder), scenario, rest[0], *map(int, rest[1:]))))
