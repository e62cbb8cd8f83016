"""Files that hold the same are one."""

from __future__ import annotations

from pathlib import Path

import torch

from ckpt_doctor import scan
from tests.advice.drive import Call, runs
from tests.readers.torch_files import save


def test_copies_are_one_row_and_neither_passed_over_nor_better(drive: Path, call: Call) -> None:
    run = runs()["old run (backup)"]
    assert {"checkpoint (1)": "checkpoint"} == {copy.name: whole.name for copy, whole in run.copies.items()}
    rows = [line for line in call("scan", "-v").stdout.splitlines() if line.startswith("  checkpoint")]
    assert 1 == sum("checkpoint (1)" in row for row in rows)
    assert any("checkpoint (= checkpoint (1))" in row for row in rows)


def test_a_damaged_file_is_no_copy_of_a_whole_one(tmp_path: Path) -> None:
    """Their stored checksums are the same; a deep scan compares them with the bytes."""
    whole = save(tmp_path / "whole.pt", {"model": {"w": torch.arange(64.0)}, "epoch": 1})
    data = bytearray(whole.read_bytes())
    data[data.index(torch.arange(64.0).numpy().tobytes()) + 9] ^= 1
    (tmp_path / "a.pt").write_bytes(data)
    (run,) = scan([tmp_path], deep=True).runs
    assert {} == run.copies
    assert "whole.pt" in {file.checkpoint.path.name for file in run.files if not file.serious}


def test_files_that_differ_in_one_number_are_no_copies(drive: Path, call: Call) -> None:
    assert 0 == call("migrate", "--sync-scheduler", "checkpoints/old run (backup)/checkpoint").exit_code
    assert {} == runs()["old run (backup)"].copies
