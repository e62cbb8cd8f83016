"""A small unit of several files, made and read without torch; and what a folder holds, to be compared."""

import io
import json
import os
import pickle
import stat
import zipfile
from pathlib import Path

from ckpt_doctor.inert import names
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.types import Checkpoint, Edit, FileStamp
from ckpt_doctor.writer.torch_archive import write_archive

NAME = "checkpoint-500"
EDITS = (
    Edit(("optimizer.pt", "lr"), 0.1, 0.2, "a test"),
    Edit(("trainer_state.json", "best_metric"), None, -0.1, "a test"),
    Edit(("scheduler.pt",), None, {"last_epoch": 500, "_last_lr": [2e-05]}, "a test"),
)


def archive(value: object) -> bytes:
    """A torch archive without tensors."""
    program, file = pickle.dumps(value, protocol=2), io.BytesIO()
    write_archive(file, [("data.pkl", len(program), [program]), ("version", 2, [b"3\n"])])
    return file.getvalue()


def content(path: Path) -> object:
    """What an archive, or a JSON file, says."""
    if path.suffix == ".json":
        return json.loads(path.read_text())
    with zipfile.ZipFile(path) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith("/data.pkl")]
        return pickle.loads(opened.read(name))


def make_unit(run: Path, name: str = NAME, weights: bytes = bytes(range(256)) * 20) -> Path:
    """Make the unit in the folder `run`: archives, JSON, weights, a folder, a link, all with old times."""
    unit = run / name
    (unit / "extra" / "empty").mkdir(parents=True)
    (unit / "model.bin").write_bytes(weights)
    (unit / "optimizer.pt").write_bytes(archive({"lr": 0.1, "state": list(range(50))}))
    state = {"global_step": 500, "best_metric": None, "log_history": [{"loss": 0.1 + 0.2}]}
    (unit / "trainer_state.json").write_text(json.dumps(state, indent=2, sort_keys=True) + "\n")
    (unit / "extra" / "note.txt").write_text("kept")
    (unit / "link").symlink_to("../elsewhere")
    (unit / "model.bin").chmod(0o444)
    for number, path in enumerate(sorted(unit.rglob("*"), reverse=True)):
        os.utime(path, ns=(10**18, 10**18 + number), follow_symlinks=False)
    os.utime(unit, ns=(10**18, 10**18 - 1))
    return unit


def opened(unit: Path) -> Checkpoint:
    """The unit as read."""
    parts = tuple(part for path in sorted(unit.iterdir()) if path.is_file() and (part := _part(path)) is not None)
    root = {part.path.name: part.root for part in parts}
    return Checkpoint(unit, sum(part.size for part in parts), "folder", "training", root, parts=parts)


def _part(path: Path) -> Checkpoint | None:
    if path.suffix == ".pt":
        return open_checkpoint(path)
    status = path.stat()
    stamp = FileStamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if path.suffix == ".json":
        return Checkpoint(path, status.st_size, "json", "other", json.loads(path.read_text()), stamp=stamp)
    return Checkpoint(path, status.st_size, "unknown", "other", None, stamp=stamp)


def snapshot(folder: Path) -> dict[str, tuple]:
    """Everything in the folder and the folder itself: kind, mode, time of change and content of each."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        held = path.read_bytes() if stat.S_ISREG(status.st_mode) else os.readlink(path) if path.is_symlink() else b""
        found[str(path.relative_to(folder))] = (oct(status.st_mode), status.st_mtime_ns, held)
    return found


def contents(folder: Path) -> dict[str, object]:
    """The same without modes and times."""
    return {name: held for name, (_, _, held) in snapshot(folder).items()}


def place_of(unit: Path, number: int = 1) -> Path:
    """Where the unit's migration of that number lies."""
    return names.store(unit) / str(number)
