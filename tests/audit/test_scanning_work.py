"""What a scan of many files costs: twice the files of one run are twice the work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from ckpt_doctor.audit import scan


def loop_run(folder: Path, files: int) -> Path:
    """The checkpoints of a hand-written loop, all in one folder."""
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    folder.mkdir()
    state = optimizer.state_dict()
    for epoch in range(files):
        for moments in state["state"].values():
            moments["step"] = torch.tensor(10.0 * (epoch + 1))
        saved = {"model": model.state_dict(), "optimizer": state, "epoch": epoch}
        torch.save(saved, folder / f"epoch_{epoch}.pt")
    return folder


def calls(folder: Path) -> int:
    """How many Python functions a scan of a folder calls."""
    seen = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal seen
        seen += event == "call"

    sys.setprofile(count)
    try:
        scan(folder)
    finally:
        sys.setprofile(None)
    return seen


@pytest.mark.long
def test_the_work_of_a_scan_grows_with_the_files_of_a_run_and_not_with_their_square(tmp_path: Path) -> None:
    scan(loop_run(tmp_path / "first", 2))  # imports and caches
    few, many = calls(loop_run(tmp_path / "few", 80)), calls(loop_run(tmp_path / "many", 160))
    assert many < 2.1 * few
