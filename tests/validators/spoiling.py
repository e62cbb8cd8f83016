"""Ways to spoil a run of `healthy_runs`: in memory, value by value, and on disk, byte by byte."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file

from ckpt_doctor.writer import in_place
from tests.validators.healthy_runs import RATE, Payload, Run, healthy, scheduler_of

STEP = "checkpoint_step_25"
BEST = "checkpoint"


class Nan(float):
    """Equal to any NaN."""

    def __new__(cls) -> Nan:
        return super().__new__(cls, "nan")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and math.isnan(other)

    __hash__ = float.__hash__


# --- values ----------------------------------------------------------------------------------------------------------


def put(*path: Any, file: str = STEP) -> Callable[[Run], None]:
    """`put("optimizer", "state", None)` sets the value at a path."""
    *parents, key, value = path

    def change(run: Run) -> None:
        target: Any = run[file]
        for parent in parents:
            target = target[parent]
        target[key] = value

    return change


def drop(*path: Any, file: str = STEP) -> Callable[[Run], None]:
    """Deletes the key at a path."""
    *parents, key = path

    def change(run: Run) -> None:
        target: Any = run[file]
        for parent in parents:
            target = target[parent]
        del target[key]

    return change


def both(*changes: Callable[[Run], object]) -> Callable[[Run], None]:
    """One change after the other."""

    def change(run: Run) -> None:
        for each in changes:
            each(run)

    return change


def group(name: str, value: Any) -> Callable[[Run], None]:
    """Sets a value of the optimizer's one param group."""
    return put("optimizer", "param_groups", 0, name, value)


def whole(make: Callable[[Payload], Any], file: str = STEP) -> Callable[[Run], None]:
    """Replaces a file's content."""

    def change(run: Run) -> None:
        run[file] = make(run[file])

    return change


def steps_of_adam(value: Any) -> Callable[[Run], None]:
    """Sets Adam's step counter of every parameter."""

    def change(run: Run) -> None:
        for entry in run[STEP]["optimizer"]["state"].values():
            entry["step"] = value

    return change


def only(*names: str) -> Callable[[Run], None]:
    """Leaves no other checkpoint in the run."""

    def change(run: Run) -> None:
        for name in set(run) - set(names):
            del run[name]

    return change


def at_position(mode: str, position: int, file: str = STEP) -> Callable[[Run], None]:
    """Moves scheduler, rate and betas to another position of the schedule, as torch itself gets there."""

    def change(run: Run) -> None:
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
        scheduler = scheduler_of(mode, optimizer)
        for _ in range(position):
            optimizer.step()
            scheduler.step()
        run[file]["scheduler"] = scheduler.state_dict()
        saved = run[file]["optimizer"]["param_groups"][0]
        saved |= {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}

    return change


def rate_at(position: int) -> float:
    """OneCycleLR's rate after so many steps."""
    run = healthy()
    at_position("TST", position)(run)
    return float(first_group(run)["lr"])


def beta1_at(position: int) -> float:
    """The beta1 that OneCycleLR leaves in the optimizer after so many steps."""
    run = healthy()
    at_position("TST", position)(run)
    return float(first_group(run)["betas"][0])


def initial_rate() -> float:
    """The rate that OneCycleLR's constructor leaves, to the last bit."""
    return float(healthy("type1")[STEP]["scheduler"]["_last_lr"][0])


def first_group(run: Run) -> Payload:
    """The optimizer's one param group."""
    found: Payload = run[STEP]["optimizer"]["param_groups"][0]
    return found


def lion(run: Run) -> None:
    """An optimizer that keeps one average of each gradient, and none of its square."""
    for payload in run.values():
        for entry in payload["optimizer"]["state"].values():
            del entry["exp_avg_sq"]
        for name in ("amsgrad", "eps"):
            del payload["optimizer"]["param_groups"][0][name]


def two_processes(run: Run) -> None:
    """Accelerate steps a prepared scheduler once per process."""
    for name, payload in run.items():
        at_position("TST", 2 * payload["global_step"], name)(run)


def worse_best(run: Run) -> None:
    """EarlyStopping had forgotten its best score, so the third epoch was saved as best."""
    run[BEST] = healthy(losses=(0.7, 0.65, 0.6), saved_at=(35,))[BEST]


def renamed(change: Callable[[str], str], file: str = STEP) -> Callable[[Run], None]:
    """Gives the model's keys other names."""
    return whole(lambda p: p | {"model": OrderedDict((change(key), value) for key, value in p["model"].items())}, file)


def on_gpu(path: Path) -> None:
    """Tags every storage of a file as one on a GPU."""
    payload = torch.load(path, weights_only=False)
    with mock.patch.object(torch.serialization, "location_tag", lambda storage: "cuda:1"):
        torch.save(payload, path)


def size(path: Path) -> int:
    """Bytes of the file, once it is damaged."""
    return path.stat().st_size


class Command:
    """What an attacker pickles."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


PACKAGES: dict[str, types.ModuleType] = {}
"""Modules of packages that are not installed: importable while a run is written."""


def foreign(module: str, name: str) -> Any:
    """An object of a class of a package that is not installed."""
    cls = type(name, (), {"__module__": module})
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        full = ".".join(parts[:length])
        if full not in sys.modules:
            PACKAGES.setdefault(full, types.ModuleType(full))
    setattr(PACKAGES[module], name, cls)
    return cls()


def calling(module: str, name: str, *arguments: object) -> Any:
    """An object that its package has made by a call (`__reduce__`), as enums are."""
    cls = type(foreign(module, name))
    cls.__reduce__ = lambda _: (cls, arguments)
    return cls()


# --- bytes -----------------------------------------------------------------------------------------------------------


def bytes_of(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Changes a file's bytes."""
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


def record(path: Path, ending: str) -> tuple[int, int]:
    """Where a record's bytes lie in a zip file."""
    with zipfile.ZipFile(path) as archive:
        info = next(info for info in archive.infolist() if info.filename.endswith(ending))
    head = path.read_bytes()[info.header_offset :]
    name, extra = struct.unpack("<HH", head[26:30])
    return info.header_offset + 30 + name + extra, info.file_size


def overwrite(ending: str, content: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Changes the bytes of one record, and leaves its checksum as it is."""

    def change(path: Path) -> None:
        start, size = record(path, ending)
        data = path.read_bytes()
        new = content(data[start : start + size])
        assert len(new) == size
        path.write_bytes(data[:start] + new + data[start + size :])

    return change


def repacked(
    keep: Callable[[str], bool],
    change: Callable[[str, bytes], bytes] = lambda _, data: data,
    method: int = zipfile.ZIP_STORED,
) -> Callable:
    """Writes the archive anew, with some records left out or changed and right checksums."""

    def rewrite(path: Path) -> None:
        new = io.BytesIO()
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(new, "w", method) as archive:
            for name in old.namelist():
                if keep(name):
                    archive.writestr(name, change(name, old.read(name)))
        path.write_bytes(new.getvalue())

    return rewrite


def unpacked(path: Path) -> None:
    """The archive's records lie in a folder of its name."""
    content = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    path.unlink()
    content.extractall(path.parent)


def sharded(*, left_out: tuple[int, ...] = (), cut: bool = False, whole: bool = False) -> Callable[[Path], None]:
    """Writes a model in three files with the index at `path`; `whole`: also in one file."""

    def write(index: Path) -> None:
        weights = {f"layer.{i}.weight": torch.ones(8, 8) * i for i in (1, 2, 3)}
        files = {name: f"model-0000{i}-of-00003.safetensors" for i, name in enumerate(weights, 1)}
        for i, (name, file) in enumerate(files.items(), 1):
            if i not in left_out:
                save_file({name: weights[name]}, index.with_name(file))
        if cut:
            file = index.with_name(files["layer.2.weight"])
            file.write_bytes(file.read_bytes()[:-100])
        if whole:
            save_file(weights, index.with_name("model.safetensors"))
        total = sum(tensor.nbytes for tensor in weights.values())
        index.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": files}))

    return write


def packed_again(path: Path) -> None:
    """As the cure says: with an entry for each folder."""
    unpacked(path)
    with zipfile.ZipFile(path.with_name("packed"), "w") as archive:
        for record in (path, *sorted(path.rglob("*"))):
            archive.write(record, record.relative_to(path.parent))
    shutil.rmtree(path)
    path.with_name("packed").rename(path)


compressed = repacked(lambda _: True, method=zipfile.ZIP_DEFLATED)


def other_name(path: Path) -> None:
    """The local entry of data.pkl gets another name than the archive's directory has for it."""
    data = path.read_bytes()
    path.write_bytes(data.replace(b"/data.pkl", b"/dota.pkl", 1))


def loop(path: Path) -> None:
    """A symbolic link to itself: the system refuses to open it, whoever asks."""
    path.unlink()
    path.symlink_to(path.name)


def linked(path: Path) -> None:
    """The file lies elsewhere, with a link in its place."""
    path.symlink_to(path.rename(path.with_name("elsewhere")))


def logged(*losses: float) -> Callable[[Path], None]:
    """The run's log beside it, with these validation losses."""

    def write_log(path: Path) -> None:
        run = path if path.is_dir() else path.parent
        lines = []
        for epoch, loss in enumerate(losses, 1):
            lines += [f"Saved step checkpoint: /content/checkpoints/{run.name}/checkpoint_step_{epoch * 10 - 5}"]
            lines += [f"Epoch: {epoch} cost time: 1.0", f"Epoch: {epoch} | Train Loss: 0.5000000 Vali Loss: {loss:.7f}"]
            lines[-1] += " Test Loss: 0.5000000 MAE Loss: 0.5000000"
        (run.parents[1] / "logs").mkdir()
        (run.parents[1] / "logs" / "train_small.log").write_text("\n".join(lines) + "\n")

    return write_log


def stale_journal(path: Path) -> None:
    """A journal whose file was replaced since: it means nothing any more."""
    cut_off_migration(path)
    path.write_bytes(path.read_bytes()[:-9])


def cut_off_migration(path: Path) -> None:
    """An in-place migration that died while it was appending."""
    old, stat = path.read_bytes(), path.stat()
    end = hashlib.sha256(old[-65536:]).hexdigest()
    times = (stat.st_atime_ns, stat.st_mtime_ns)
    in_place._write_journal(in_place.Journal(path, len(old), len(old) + 100, end, *times))
    path.write_bytes(old + b"new bytes")


def torn(path: Path) -> None:
    """The pickle of the archive declares a string of which the file holds the beginning only."""
    repacked(lambda _: True, lambda name, data: data[:-40] if name.endswith("data.pkl") else data)(path)


def inflating(path: Path) -> None:
    """An archive of 100 KB whose pickle says it has 100 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("checkpoint/data.pkl", b"}." + bytes(100_000_000))
        archive.writestr("checkpoint/version", b"3\n")
