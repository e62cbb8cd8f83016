"""Files as torch writes them, in each of its formats, and archives with some records changed."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

ZIP, LEGACY = True, False


def tensors_of(value, found=None):
    """Distinct tensor objects in containers, in the order of a walk."""
    found = {} if found is None else found
    if isinstance(value, torch.Tensor):
        found.setdefault(id(value), value)
    elif isinstance(value, dict):
        for item in value.values():
            tensors_of(item, found)
    elif isinstance(value, (list, tuple)):
        for item in value:
            tensors_of(item, found)
    return list(found.values())


def save(path: Path, value, zipped=ZIP) -> Path:
    """`torch.save`."""
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def load(path):
    """`torch.load` with everything allowed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, weights_only=False)


def training(device="cpu"):
    """A small training checkpoint."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "global_step": 17,
        "best_score": np.float64(-0.5),
    }


def tar_checkpoint(
    path: Path, tensors: Sequence[str] = ("weight",), *, location: str = "cpu", **others: object
) -> Path:
    """A file as torch wrote it before 0.1.10, which `torch.load` still reads: one tensor under these keys."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return "9" if value == "the tensor" else None

    pickled = io.BytesIO()
    Pickler(pickled, 2).dump(OrderedDict(**dict.fromkeys(tensors, "the tensor"), **(others or {"epoch": 2})))

    def dump(value):
        return pickle.dumps(value, 2)

    storages = dump(1) + dump((7, location, torch.FloatStorage)) + struct.pack("<q6f", 6, *range(6)) + dump([])
    about = dump(1) + dump((9, 7, "torch.FloatTensor")) + struct.pack("<i4x5q", 2, 2, 3, 3, 1, 0)
    with tarfile.open(path, "w") as archive:
        for name, data in [
            ("sys_info", dump({})),
            ("pickle", pickled.getvalue()),
            ("tensors", about),
            ("storages", storages),
        ]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def rezip(source: Path, target: Path, change=lambda name, data: data, compression=zipfile.ZIP_STORED) -> Path:
    """An archive with the same records, some changed; None drops one."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for info in old.infolist():
            data = change(info.filename.split("/", 1)[1], old.read(info))
            if data is not None:
                new.writestr(info.filename, data)
    return target


def small(path: Path, zipped=ZIP) -> bytes:
    """A file of a few kilobytes with a training state, a view and a Parameter."""
    base = torch.arange(5.0)
    value = {
        "model": {"w": torch.randn(4, 3), "b": torch.nn.Parameter(base[:2])},
        "optimizer": {"m": base[2:]},
        "epoch": 3,
        "plain": [1.5, "text", (True, None)],
    }
    return save(path, value, zipped).read_bytes()
