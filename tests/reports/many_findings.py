"""Runs in which much is wrong, to see what a screen of them says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ckpt_doctor.types import FileReport, Finding
from tests.reports.report_samples import RUN, file
from tests.validators.healthy_runs import STEPS, healthy, write

SAVED_AT = (5, 12, 15, 18, 25, 28, 32, 36, 45)


def written(folder: Path) -> Path:
    """The run folder: best scores lost, schedules and epochs that are off, keys of the wrong kind, a cut file."""
    run = healthy("TST", saved_at=SAVED_AT)
    for number, payload in enumerate(run.values()):
        _spoil(payload, number)
    path = write(run, folder)
    cut = path / f"checkpoint_step_{SAVED_AT[-1]}" / "checkpoint.pt"
    cut.write_bytes(cut.read_bytes()[:-700])
    return path


def _spoil(payload: dict[str, Any], number: int) -> None:
    if number % 2:
        payload.pop("best_score")
    payload["scheduler"]["last_epoch"] -= 1 + number % 3
    if number > 2:
        payload["scheduler"]["_step_count"] += 4
    if number % 3 == 0:
        payload["epoch"] = payload["global_step"] // STEPS + 1
        payload["rng_state"] = None
    if number % 3 == 1:
        payload["val_loss_min"] = 0.9
        payload["optimizer"]["state"][0]["step"] += 2
    if number % 4 == 2:
        payload["counter"] = 3
        payload["optimizer"]["param_groups"][0]["lr"] *= 2


def faults(count: int, of: int = 1) -> list[FileReport]:
    """So many files, in each of which so many rules find something of two lines."""
    told = "a sentence of which no line of eighty columns has room for more than the beginning, and more, and more"
    found = [Finding(f"R{501 + n}", f"rule-{n}", "warning", told) for n in range(of)]
    return [file(RUN / f"checkpoint_step_{n}", *found, epoch=n // 2) for n in range(count)]
