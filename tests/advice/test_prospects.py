"""Files that hold the same are one."""

from __future__ import annotations

from pathlib import Path

from tests.advice.drive import Call, runs


def test_copies_are_one_row_and_neither_passed_over_nor_better(drive: Path, call: Call) -> None:
    run = runs()["old run (backup)"]
    assert {"checkpoint (1)": "checkpoint"} == {copy.name: whole.name for copy, whole in run.copies.items()}
    rows = [line for line in call("scan", "-v").stdout.splitlines() if line.startswith("  checkpoint")]
    assert 1 == sum("checkpoint (1)" in row for row in rows)
    assert any("checkpoint (= checkpoint (1))" in row for row in rows)


def test_files_that_differ_in_one_number_are_no_copies(drive: Path, call: Call) -> None:
    assert 0 == call("migrate", "--sync-scheduler", "checkpoints/old run (backup)/checkpoint").exit_code
    assert {} == runs()["old run (backup)"].copies
