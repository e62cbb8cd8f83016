"""A save that lands in the middle of a migration, an undo or a pruning is the newest, and stays."""

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.writer import commit
from tests.writer import faults
from tests.writer.processes import start, train_beside
from tests.writer.sample_files import litter, make

CALLS = (
    "stat",
    "lstat",
    "open",
    "pwrite",
    "copy_file_range",
    "fsync",
    "ftruncate",
    "replace",
    "rename",
    "unlink",
    "link",
    "fchmod",
    "utime",
)


def renamed(path: Path, data: bytes) -> bool:
    """Save as `atomic_save` does."""
    beside = path.with_name("of the trainer")
    beside.write_bytes(data)
    os.rename(beside, path)
    return True


def rewritten(path: Path, data: bytes) -> bool:
    """Save as `torch.save` does. False while the file may not be opened, where a trainer would wait."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK | os.O_CREAT)
    except BlockingIOError:
        return False
    with open(fd, "wb") as file:
        file.write(data)
    return True


class Intrusion:
    """Does something right before this process's call number `at` that concerns what is below `folder`."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, act: Callable[[], bool], at: int) -> None:
        self.folder, self.act, self.at, self.calls, self.done = str(folder), act, at, 0, False
        for name in CALLS:
            self._wrap(patch, os, name)
        self._wrap(patch, commit, "exchange")
        self._wrap(patch, commit, "holders")

    def _wrap(self, patch: pytest.MonkeyPatch, module: object, name: str) -> None:
        real = getattr(module, name)

        def call(*args: object, **kwargs: object) -> object:
            self.calls += isinstance(args[0], int) or self.folder in str(args[0])
            if self.calls >= self.at and not self.done:
                self.done = True  # its own calls are not counted
                self.done = self.act()
            return real(*args, **kwargs)

        patch.setattr(module, name, call)


def sweep(tmp_path: Path, scenario: str, save: Callable[[Path, bytes], bool], step: int) -> int:
    """The save before each call in turn, or each of so many; how many calls there were."""
    sample = make(tmp_path / "sample", faults.SCENARIOS[scenario][1])
    newest = make(tmp_path / "newest", "torch-zip").read_bytes() + b"the trainer's"
    first, run = tmp_path / "first", tmp_path / "run"
    first.mkdir()
    faults.prepare(sample, first, scenario)
    path = run / "checkpoint"
    at = 1
    while True:
        shutil.copytree(first, run)
        with pytest.MonkeyPatch.context() as patch:
            intrusion = Intrusion(patch, run, lambda: save(path, newest), at)
            try:
                faults.perform(run, scenario)
            except WriteRefused:
                pass
            except (zipfile.BadZipFile, StopIteration, AssertionError, ValueError):
                assert at < 20, "the save came while the file was read, and only then"
            if not intrusion.done:
                return at
        assert newest == path.read_bytes(), f"lost at call {at}"
        assert litter(run) <= {"checkpoint", "checkpoint.ckpt-doctor-undo"}, at
        shutil.rmtree(run)
        at += step


REPLACED = ("replace-zip", "undo-zip", "replace-stream", "undo-stream")
IN_PLACE = ("in-place-zip", "undo-zip-in-place")


def sweeps() -> list:
    """Every scenario at every call; by default the commonest two at some."""
    some = [("replace-zip", 4), ("in-place-zip", 4)]
    every = [pytest.param(scenario, 1, marks=pytest.mark.long) for scenario in (*REPLACED, *IN_PLACE)]
    return [*some, *every]


@pytest.mark.parametrize("save", [renamed, rewritten])
@pytest.mark.parametrize(("scenario", "step"), sweeps())
def test_a_save_before_any_call_is_kept(scenario, step, save, tmp_path):
    """Whichever call it comes before, the path holds that save at the end, and nothing lies beside it."""
    assert sweep(tmp_path, scenario, save, step) > 20


TRAIN = """
import io, os, pickle, random, sys, time, zipfile
from pathlib import Path
path, saves, how = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
filler = os.urandom(1 << 20)
def content(epoch):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"epoch": epoch}, protocol=2))
        archive.writestr("archive/data/0", filler)
    return stream.getvalue()
def read():
    with zipfile.ZipFile(path) as archive:
        return pickle.loads(archive.read("archive/data.pkl"))["epoch"]
print("ready", flush=True); input()
for epoch in range(1, saves + 1):
    data = content(epoch)
    if how == "renamed":
        beside = path.with_name("of the trainer"); beside.write_bytes(data); beside.rename(path)
    else:
        with path.open("wb") as file:
            for at in range(0, len(data), 1 << 16):
                file.write(data[at:at + (1 << 16)]); file.flush()
    # A copy of the one before may stand there until it is found out, on a busy disk for seconds
    for attempt in range(20_000):
        try:
            if read() == epoch: break
        except (OSError, zipfile.BadZipFile): pass
        time.sleep(0.005)
    else:
        print("lost", epoch, flush=True); sys.exit(1)
    time.sleep(random.uniform(0, 0.06))
"""
MIGRATE = """
import sys; from pathlib import Path
from tests.writer.sample_files import edited
from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
path, mode = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True); input(); done = 0
while not path.with_name("stop").exists():
    try:
        edit = edited(path, "torch-zip")
    except Exception:  # half a file
        continue
    try:
        writer.write(*edit, {"edits": []}, mode=mode, verify=lambda p: None); done += 1
    except WriteRefused: pass
print(done)
"""


@pytest.mark.long
@pytest.mark.parametrize("how", ["renamed", "rewritten"])
@pytest.mark.parametrize("mode", ["replace", "in-place"])
def test_a_trainer_that_saves_all_the_time_loses_no_save(mode, how, tmp_path):
    """Real processes: after each of its saves the trainer finds it again, and the last one is there at the end."""
    path = tmp_path / "checkpoint"
    train_beside(start(TRAIN, path, 400, how), start(MIGRATE, path, mode), tmp_path / "stop", 900)
    with zipfile.ZipFile(path) as archive:
        assert 400 == pickle.loads(archive.read("archive/data.pkl"))["epoch"]
