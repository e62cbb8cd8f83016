"""A report that is rendered run by run: the same whoever judges the runs, and in little memory."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ckpt_doctor import advice, scan
from ckpt_doctor.advice import reporting
from ckpt_doctor.advice.reporting import Shelf
from ckpt_doctor.audit import curve_of
from ckpt_doctor.errors import CkptDoctorError
from ckpt_doctor.reports import Detail, judged
from ckpt_doctor.reports.documents import Place, Style, Told, packed, told
from ckpt_doctor.trainers import all_rules
from ckpt_doctor.types import Checkpoint
from tests.audit.test_scanning_work import loop_run
from tests.trainers.hf_trainer import runs as hf
from tests.trainers.lightning import runs as lightning

STYLES: list[tuple[str, Detail]] = [(form, "normal") for form in ("json", "sarif", "github", "markdown", "html")]
STYLES += [("table", "normal"), ("table", "quiet"), ("table", "all")]


def aged(folder: Path) -> None:
    """A file that is cut off may still be being written, for a minute."""
    for file in folder.rglob("*.*"):
        os.utime(file, (0, 0))


@pytest.fixture
def old_drive(drive: Path) -> None:
    aged(drive)


@pytest.fixture
def tree(drive: Path) -> None:
    """Runs of several trainers with faults of many kinds."""
    loop_run(drive / "checkpoints" / "loop", 4)
    lightning.write(drive / "checkpoints" / "lightning")
    hf.Writer(drive / "checkpoints" / "hf", evaluations={10: 1.5, 20: 1.25}).write(10, 20)
    aged(drive)


@pytest.fixture
def timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports that were made in no time, at one time."""
    monkeypatch.setattr("ckpt_doctor.advice.reporting.time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr("ckpt_doctor.advice.scanning.time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr("ckpt_doctor.reports.html.time", SimpleNamespace(strftime=lambda _: "today"))


def styled(form: str, detail: Detail = "normal") -> Style:
    return Style(form, 100, detail=detail, rules=all_rules, curve=curve_of)


def shown(style: Style, **given: Any) -> str:
    return "".join(advice.report([Path("checkpoints")], style, **given).text())


@pytest.mark.usefixtures("old_drive", "timeless")
@pytest.mark.parametrize(
    ("form", "detail"),
    [("json", "normal"), *(pytest.param(*style, marks=pytest.mark.long) for style in STYLES if style[0] != "json")],
)
def test_two_processes_make_the_report_of_one(form: str, detail: Detail) -> None:
    style = styled(form, detail)
    counted: list[tuple[int, int]] = []
    assert shown(style, jobs=1) == shown(style, jobs=2, counted=lambda *numbers: counted.append(numbers))
    [of] = {of for _, of in counted}
    assert of == len(scan().files) == counted[-1][0]
    assert counted == sorted(set(counted))


@pytest.mark.long
@pytest.mark.usefixtures("tree", "timeless")
def test_a_report_that_is_rendered_run_by_run_is_that_of_the_whole() -> None:
    whole = replace(scan(), seconds=0.0)
    for form, detail in STYLES:
        expected = judged(whole, form, detail=detail, width=100, rules=all_rules, curve=curve_of)
        assert expected == shown(styled(form, detail)), (form, detail)


@contextmanager
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, get_context("spawn"), initializer=os.chdir, initargs=(os.getcwd(),)) as executor:
        yield executor


@pytest.mark.usefixtures("old_drive", "timeless")
@pytest.mark.parametrize(
    "opens",
    [partial(ThreadPoolExecutor, 2), pytest.param(processes, marks=pytest.mark.long)],
    ids=["threads", "processes"],
)
def test_an_executor_makes_the_same_report(opens: Any) -> None:
    with opens() as executor:
        assert shown(styled("json"), jobs=1) == shown(styled("json"), executor=executor)
        assert str(scan()) == str(scan(executor=executor)) == str(scan(executor=executor, outlines=True))


@pytest.mark.long
@pytest.mark.usefixtures("old_drive", "timeless")
def test_a_log_that_another_run_has_taken_is_not_named_whoever_comes_first(drive: Path) -> None:
    """The run in TST mode has lost its log; the one in COS mode, which comes before it, has one."""
    for form in ("table", "json"):
        told_here = shown(styled(form))
        assert told_here == judged(replace(scan(), seconds=0.0), form, width=100)
        assert "not taken" not in told_here
    shutil.rmtree(next((drive / "checkpoints").glob("*COS")))
    assert "not taken" in shown(styled("table"))


@pytest.mark.usefixtures("drive")
def test_rendered_runs_are_taken_in_their_order_from_memory_and_from_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = {n: told(run, Place("name", n), styled("sarif")) for n, run in enumerate(scan().runs)}
    for room in (1 << 20, 2_000, 0):
        monkeypatch.setattr(reporting, "IN_MEMORY", room)
        shelf = Shelf()
        shelf.put(3, rendered[0])  # taken back below
        for number in reversed(rendered):
            shelf.put(number, rendered[number])
        assert len(shelf) == len(rendered)
        assert list(rendered.values()) == list(shelf) == list(shelf)


@pytest.mark.usefixtures("drive")
@pytest.mark.parametrize("whole", [1, 2])
def test_ctrl_c_while_runs_go_to_disk_leaves_each_there_once(whole: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = {n: told(run, Place("name", n), styled("sarif")) for n, run in enumerate(scan().runs)}
    monkeypatch.setattr(reporting, "IN_MEMORY", sum(len(packed(run)) for run in rendered.values()) - 1)
    pieces = iter([packed] * (len(rendered) + whole))  # to measure each, then to write some

    def interrupted(run: Told) -> bytes:
        pack = next(pieces, None)
        if pack is None:
            raise KeyboardInterrupt
        return pack(run)

    monkeypatch.setattr(reporting, "packed", interrupted)
    shelf = Shelf()
    with pytest.raises(KeyboardInterrupt):
        for number, run in rendered.items():
            shelf.put(number, run)
    left = list(shelf)
    assert len(shelf) == len(left) >= len(rendered) - 1
    assert left == [run for run in rendered.values() if run in left]


def test_where_no_temporary_file_can_be_the_way_out_is_named(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "IN_MEMORY", 0)
    monkeypatch.setattr("tempfile.tempdir", str(drive / "absent"))
    with pytest.raises(CkptDoctorError, match="set TMPDIR"):
        advice.report([drive], styled("json"))


def test_an_interrupted_scan_reports_the_runs_that_were_judged(drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    real = advice.jobs.audit.audit_run

    def interrupted(folder: Path, *rest: Any) -> Any:
        seen.append(folder)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(folder, *rest)

    monkeypatch.setattr("ckpt_doctor.audit.audit_run", interrupted)
    report = advice.report([Path("checkpoints")], styled("table"))
    whole = scan()
    assert (len(whole.runs) - 2, len(whole.runs)) == (report.ending.missed, report.ending.of)
    printed = "".join(report.text())
    sentence = f"Interrupted before {len(whole.runs) - 2} of {len(whole.runs)} runs were judged."
    assert sentence in " ".join(printed.split())
    with pytest.raises(KeyboardInterrupt):
        seen[:] = [drive, drive]
        advice.report([Path("checkpoints")], styled("table"))


def fleet(folder: Path, runs: int) -> Path:
    """Runs of ten checkpoints of a few kilobytes."""
    first = loop_run(folder, 10)
    for number in range(1, runs):
        shutil.copytree(first, folder.with_name(f"{folder.name}_{number}"))
    return folder.parent


def peak(folder: Path, form: str) -> int:
    """Bytes of memory that a scan took at most."""
    code = (
        "import sys, resource; from ckpt_doctor.cli.main import main; "
        f"main(['scan', '--jobs', '1', '--format', {form!r}, '--fail-on', 'never', {str(folder)!r}]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return int(done.stdout.splitlines()[-1]) * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.long
def test_ten_thousand_files_take_the_memory_of_a_thousand(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    (tmp_path / "many").mkdir()
    few, many = fleet(tmp_path / "few" / "run", 100), fleet(tmp_path / "many" / "run", 1_000)
    for form in ("table", "json"):
        assert peak(many, form) < peak(few, form) + (10 << 20), "a path of each file, and what malloc keeps"


@pytest.mark.usefixtures("tree")
def test_what_was_read_of_a_file_is_gone_with_its_run() -> None:
    """Without a search for cycles: the program makes few, and what they hold would be that of hundreds of files."""
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(one, Checkpoint) for one in gc.get_objects())
        advice.report([Path("checkpoints")], styled("json"))
        assert before == sum(isinstance(one, Checkpoint) for one in gc.get_objects())
    finally:
        gc.enable()


@pytest.mark.long
def test_the_memory_of_a_report_is_that_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By tracing, what is held at most while few runs are judged, and ten times as many."""
    monkeypatch.setattr(reporting, "IN_MEMORY", 0)
    held = []
    for number, runs in enumerate((20, 2, 20)):  # the first for imports, caches and the tuples that Python keeps
        folder = tmp_path / str(number)
        folder.mkdir()
        tree = fleet(folder / "run", runs)
        gc.collect()
        tracemalloc.start()
        report = advice.report([tree], styled("json"))
        assert sum(map(len, report.text())) > 10_000 * runs
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert held[2] - held[1] < 180 * 2_000, "a path, and where its run is on the disk"
