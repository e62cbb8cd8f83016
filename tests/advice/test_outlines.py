"""A scan of many files keeps outlines: every report of them is that of the whole checkpoints, in little memory."""

from __future__ import annotations

import gc
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from ckpt_doctor import scan
from ckpt_doctor.reports import Detail, judged
from ckpt_doctor.trainers import all_rules
from ckpt_doctor.types import Report
from tests.audit.test_scanning_work import loop_run
from tests.trainers.hf_trainer import runs as hf
from tests.trainers.lightning import runs as lightning


def shown(report: Report, form: str, detail: Detail) -> str:
    return judged(replace(report, seconds=0.0), form, rules=all_rules, detail=detail)


FORMS: list[tuple[str, Detail]] = [(form, "normal") for form in ("json", "sarif", "github", "markdown")]
FORMS += [("table", "normal"), ("table", "quiet"), ("table", "all")]


@pytest.mark.long
def test_reports_of_outlines_are_those_of_whole_checkpoints(drive: Path) -> None:
    loop_run(drive / "checkpoints" / "loop", 4)
    lightning.write(drive / "checkpoints" / "lightning")
    hf.Writer(drive / "checkpoints" / "hf", evaluations={10: 1.5, 20: 1.25}).write(10, 20)
    for file in drive.rglob("*.*"):
        os.utime(file, (0, 0))  # a file that is cut off may still be being written, for a minute
    whole, outlined = scan(), scan(outlines=True)
    assert len(whole.files) > 15
    for form, detail in FORMS:
        assert shown(outlined, form, detail) == shown(whole, form, detail), (form, detail)


def kept(folder: Path, files: int) -> int:
    """Bytes that a report of a run holds on to."""
    loop_run(folder, files)
    gc.collect()
    tracemalloc.start()
    report = scan(folder, outlines=True)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(report.files) == files
    return held


@pytest.mark.long
def test_a_report_keeps_a_few_kilobytes_of_each_file(tmp_path: Path) -> None:
    kept(tmp_path / "first", 2)  # imports and caches
    assert kept(tmp_path / "many", 60) - kept(tmp_path / "few", 20) < 40 * 6_000
