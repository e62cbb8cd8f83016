"""Copies of the sample runs, files of them changed with torch, and what a migration then changed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ckpt_doctor.repair import migrate
from ckpt_doctor.types import Evidence, Given, MigrationResult

SAMPLES = Path(__file__).parents[2] / "fixtures" / "sample-runs"
ABSENT = "absent"


@dataclass(frozen=True)
class Sample:
    """A copy of a sample run."""

    root: Path
    """Holds `checkpoints/` and `logs/`."""

    @classmethod
    def copy(cls, name: str, to: Path) -> Sample:
        """The sample `name`, in the new folder `to`."""
        shutil.copytree(SAMPLES / name, to)
        return cls(to)

    @property
    def run(self) -> Path:
        """The run folder."""
        return next((self.root / "checkpoints").iterdir())

    @property
    def best(self) -> Path:
        """EarlyStopping's file."""
        return self.run / "checkpoint"

    @property
    def log(self) -> Path:
        """The run's log."""
        return next((self.root / "logs").iterdir())

    def step(self, number: int) -> Path:
        """The step checkpoint saved after so many steps."""
        return self.run / f"checkpoint_step_{number}" / "checkpoint.pt"

    def losses(self) -> list[float]:
        """The validation losses that the log prints, epoch by epoch."""
        return [float(loss) for loss in re.findall(r"Vali Loss: (\d+\.\d+)", self.log.read_text())]


def load(path: Path) -> Any:
    """What torch loads."""
    return torch.load(path, map_location="cpu", weights_only=False)


def edit(path: Path, change: Callable[[Any], object]) -> Any:
    """Change a file as torch saves it anew; returns what it then holds."""
    held = load(path)
    change(held)
    torch.save(held, path)
    return load(path)


def given(**facts: object) -> Given:
    """Training facts from the command line."""
    return {name: Evidence(value, "given", given=True) for name, value in facts.items()}


def repaired(path: Path, *fixes: str, **options: Any) -> MigrationResult:
    """The result for the one file; all repairs where none is named."""
    (result,) = migrate([path], **({"fixes": fixes} if fixes else {}), **options)
    return result


def changed(path: Path, *fixes: str, **options: Any) -> dict[tuple, tuple]:
    """Migrate the file, and tell what torch loads otherwise than before: path -> (before, after)."""
    before = load(path)
    result = repaired(path, *fixes, **options)
    assert "migrated" == result.status, result
    return differences(before, load(path))


def untouched(path: Path, *fixes: str, **options: Any) -> MigrationResult:
    """Migrate the file, which must stay as it is, its times and its folder included."""
    content, status, beside = path.read_bytes(), path.stat(), sorted(path.parent.rglob("*"))
    result = repaired(path, *fixes, **options)
    assert result.status in ("unchanged", "refused"), result
    assert (content, status.st_mtime_ns, status.st_ino) == (
        path.read_bytes(),
        path.stat().st_mtime_ns,
        path.stat().st_ino,
    )
    assert beside == sorted(path.parent.rglob("*"))
    return result


def differences(old: Any, new: Any, path: tuple = ()) -> dict[tuple, tuple]:
    """Where two loaded checkpoints differ, in type, key order or one bit."""
    if type(old) is type(new) and isinstance(old, dict):
        common = [key for key in old if key in new]
        found = {} if common == [key for key in new if key in old] else {path: ("keys in this order", list(new))}
        for key in [*old, *(key for key in new if key not in old)]:
            found |= differences(old.get(key, ABSENT), new.get(key, ABSENT), (*path, key))
        return found
    if type(old) is type(new) and isinstance(old, (list, tuple)) and len(old) == len(new):
        found = {}
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            found |= differences(a, b, (*path, index))
        return found
    return {} if type(old) is type(new) and _same(old, new) else {path: (old, new)}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        alike = (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
        return alike and torch.equal(
            a.contiguous().view(-1).view(torch.uint8), b.contiguous().view(-1).view(torch.uint8)
        )
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    return bool(a == b or (a != a and b != b))
