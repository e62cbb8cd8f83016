"""Killed, failed or saved over at any call, a unit is the old one or the new one, whole, with every save in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.writer import files, folder_state, unit_commit
from tests.writer import unit_faults
from tests.writer.processes import start, train_beside
from tests.writer.sample_units import EDITS, NAME, archive, content, make_unit, opened, snapshot
from tests.writer.test_crash import struck, swept, with_strace
from tests.writer.test_races import Intrusion
from tests.writer.unit_faults import RECORD, litter, migrate

pytestmark = pytest.mark.usefixtures("quick_disk")


def sweeps() -> list:
    """Every scenario with every kind of fault; by default some points of the commonest."""
    some = [("write", "kill", 31), ("undo", "kill", 29), ("write-without-exchange", "kill", 37)]
    every = [(s, k, 1) for s in unit_faults.SCENARIOS for k in unit_faults.faults.KINDS]
    return [*some, *(pytest.param(*one, marks=pytest.mark.long) for one in every)]


@pytest.mark.parametrize(("scenario", "kind", "step"), sweeps())
def test_each_writing_call_may_fail_or_be_the_last(scenario, kind, step, tmp_path):
    """The path holds the old or the new unit, whole; exit and content agree; the next run leaves no litter."""
    outcome = swept(tmp_path, unit_faults, scenario, kind, str(step))
    assert [] == outcome["complaints"]
    assert outcome["points"] >= 60


@with_strace
@pytest.mark.parametrize("scenario", ["write", "undo"])
def test_each_real_system_call_may_fail_or_be_the_last(scenario, fault, tmp_path):
    """The same of the real process and the kernel's own calls."""
    timeless = unit_faults.timeless if fault.startswith("error") else lambda state: state
    scene = unit_faults.scene(scenario, lambda unit: timeless(snapshot(unit)))
    found = struck(
        tmp_path, unit_faults, scenario, fault, ("mkdir", "rmdir", "symlink", "chmod"),
        lambda run: tuple(map(timeless, unit_faults.prepare(run, scenario))),
        lambda run, status, states: unit_faults.complaints(scene, run, status, *states),
    )  # fmt: skip
    assert len(found) >= 60
    assert {} == {call: told for call, told in found.items() if told}


def renamed(path: Path, data: bytes) -> None:
    """Save by a rename."""
    beside = path.parent.parent / "of the trainer"
    beside.write_bytes(data)
    os.rename(beside, path)


def rewritten(path: Path, data: bytes) -> None:
    """Save as `torch.save` does."""
    with open(path, "wb") as file:
        file.write(data)


SAVES = [(name, how) for name in ("optimizer.pt", "model.bin", "scheduler.pt") for how in (renamed, rewritten)]


@pytest.mark.parametrize(("name", "save"), SAVES)
@pytest.mark.parametrize(
    ("scenario", "step"),
    [("write", 83), *(pytest.param(s, 3, marks=pytest.mark.long) for s in ("write", "undo", "write-without-exchange"))],
)
def test_a_save_before_any_call_is_kept(scenario, step, name, save, tmp_path):
    """A file that the trainer saves while its unit is migrated is there at the end, with its last bytes.

    Where names cannot be exchanged, only the rename of that very file is left.
    """
    first, run = tmp_path / "first", tmp_path / "run"
    first.mkdir()
    unit_faults.prepare(first, scenario)
    newest, at, lost = archive({"epoch": 501}) * 3, 1, []
    while True:
        shutil.copytree(first, run, symlinks=True)
        with pytest.MonkeyPatch.context() as patch:
            if "without-exchange" in scenario:
                patch.setattr(unit_commit, "exchange", lambda *_: False)
            act = (lambda: writer.undo(run / NAME)) if scenario == "undo" else planned(run / NAME)
            intrusion = Intrusion(patch, run, lambda: save(run / NAME / name, newest) or True, at)
            for module, call in ((os, "mkdir"), (os, "symlink"), (folder_state, "holders"), (unit_commit, "exchange")):
                intrusion._wrap(patch, module, call)
            with suppress(WriteRefused):
                act()
            if not intrusion.done:
                break
        if newest != (run / NAME / name).read_bytes():
            lost.append(at)
        assert litter(run) <= unit_faults.MIGRATED | {f".ckpt-doctor/{NAME}/1/2"}, at
        shutil.rmtree(run)
        at += step
    assert at > 60
    assert len(lost) <= ("without-exchange" in scenario), lost


def planned(unit: Path) -> Callable[[], object]:
    """A migration of the unit as it is now."""
    checkpoint = opened(unit)
    changes = writer.part_changes(checkpoint, EDITS)
    return lambda: writer.write_unit(checkpoint, changes, RECORD, verify=lambda _: None)


def test_saves_on_both_sides_of_the_exchange_are_all_kept(tmp_path, monkeypatch):
    """A trainer writes one file after the other: the first into the old folder, the rest into the one in its place."""
    unit = make_unit(tmp_path)
    first = True

    def exchanged(one: Path, other: Path) -> bool:
        nonlocal first
        if not first:
            return files.exchange(one, other)
        first = False
        (unit / "model.bin").unlink()
        (unit / "model.bin").write_bytes(b"first")
        files.exchange(one, other)
        (unit / "optimizer.pt").write_bytes(b"second")
        (unit / "extra" / "more").write_bytes(b"third")
        return True

    monkeypatch.setattr(unit_commit, "exchange", exchanged)
    with pytest.raises(WriteRefused, match=r"model\.bin changed since"):
        migrate(unit)
    assert b"first" == (unit / "model.bin").read_bytes()
    assert b"second" == (unit / "optimizer.pt").read_bytes()
    assert b"third" == (unit / "extra" / "more").read_bytes()
    assert not (unit / "scheduler.pt").exists()
    assert {NAME} == set(os.listdir(tmp_path))


def test_a_part_that_is_open_for_writing_is_left_alone(tmp_path):
    unit = make_unit(tmp_path)
    code = f"import time; f = open({str(unit / 'optimizer.pt')!r}, 'ab'); print('open', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, text=True) as trainer:
        assert "open\n" == trainer.stdout.readline()
        before = snapshot(unit)
        with pytest.raises(WriteRefused, match=f"process {trainer.pid}"):
            migrate(unit)
        trainer.kill()
    assert before == snapshot(unit)


def test_where_folders_cannot_be_exchanged_a_note_says_what_readers_may_see(tmp_path, monkeypatch):
    """And one that is cut off between two files is told by `came_out`, and taken back by the next run."""
    unit = make_unit(tmp_path)
    before = snapshot(unit)
    monkeypatch.setattr(unit_commit, "exchange", lambda *_: False)
    assert unit_commit.MIXED in migrate(unit).notes
    after = snapshot(unit)
    assert unit_commit.MIXED in writer.undo(unit).notes
    assert before == snapshot(unit)

    replace = Path.replace

    def cut_off(self: Path, target: Path) -> Path:
        if target == unit / "trainer_state.json":
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut_off)
        patch.setattr(unit_commit, "settle", lambda *_, **__: None)
        patch.setattr(unit_commit, "_tidy", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            migrate(unit)
    assert before != snapshot(unit) != after
    assert writer.came_out(unit) is not None
    assert "rolled-back" == writer.recover(unit)
    assert before == snapshot(unit)
    assert writer.came_out(unit) is None
    assert {NAME} == set(os.listdir(tmp_path))


TRAIN = """
import json, os, random, sys, time
from pathlib import Path
from tests.writer.sample_units import archive, content
unit, saves, how = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
PARTS = ("optimizer.pt", "trainer_state.json", "model.json", "scheduler.pt")
def save(path, epoch):
    said = {"epoch": epoch, "lr": 0.1}
    data = json.dumps(said).encode() if path.suffix == ".json" else archive(said)
    if how == "renamed":
        beside = unit.parent / "of the trainer"; beside.write_bytes(data); beside.rename(path)
    else:
        path.write_bytes(data)
print("ready", flush=True); input()
for epoch in range(1, saves + 1):
    for name in PARTS:
        save(unit / name, epoch); time.sleep(random.uniform(0, 0.002))
    for attempt in range(400):  # the folder of the save before may stand there until it is found out
        try:
            if {epoch} == {content(unit / name)["epoch"] for name in PARTS}: break
        except Exception: pass
        time.sleep(0.005)
    else:
        print("lost", epoch, flush=True); sys.exit(1)
    time.sleep(random.uniform(0, 0.1))
"""
MIGRATE = """
import sys; from pathlib import Path
from tests.writer.sample_units import opened
from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.types import Edit
unit = Path(sys.argv[1])
print("ready", flush=True); input(); done = 0
while not unit.with_name("stop").exists():
    try:
        checkpoint = opened(unit)
        edits = [Edit((name, "lr"), 0.1, 0.2, "a test") for name in ("optimizer.pt", "trainer_state.json")]
        changes = writer.part_changes(checkpoint, edits)
    except Exception:  # half a file
        continue
    try:
        writer.write_unit(checkpoint, changes, {"edits": []}, verify=lambda p: None); done += 1
    except WriteRefused: pass
print(done)
"""


@pytest.mark.long
@pytest.mark.parametrize("how", ["renamed", "rewritten"])
def test_a_trainer_that_saves_all_the_time_loses_no_part(how, tmp_path):
    """Real processes: after each of its saves the trainer finds all its parts; the last ones are there at the end."""
    unit = make_unit(tmp_path)
    train_beside(start(TRAIN, unit, 150, how), start(MIGRATE, unit), tmp_path / "stop", 300)
    assert {150} == {content(unit / name)["epoch"] for name in ("optimizer.pt", "trainer_state.json", "scheduler.pt")}
