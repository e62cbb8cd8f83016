"""The benchmark works: each case runs and shows its ratios; its figures are of what they say. No time is asserted."""

from __future__ import annotations

import importlib.util
import json
import resource
import sys
from pathlib import Path

import pytest

from benchmarks import sampling
from benchmarks.__main__ import main
from benchmarks.bench import Bench, Command, Cost, Row, run
from benchmarks.case import Case
from benchmarks.cases import CASES
from benchmarks.contenders import doctor
from benchmarks.files import hf_run, small_files, weights
from benchmarks.page import cost, memory, seconds
from benchmarks.results import growth
from ckpt_doctor import open_checkpoint, scan

PASS = (sys.executable, "-c", "pass")


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_case_runs_and_removes_its_files(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work, to = tmp_path / "work", tmp_path / "results.json"
    work.mkdir()
    main([case.name, "--quick", "--folder", str(work), "--json", str(to)])
    assert [] == list(work.iterdir())
    assert f"## {case.title}" in capsys.readouterr().out
    found = json.loads(to.read_text())["cases"][case.name]
    assert found.keys() == {"skipped"} or found["rows"]
    shown = {name for row in found.get("rows", ()) for name in row["ratios"]}
    absent = {"picklescan"} if importlib.util.find_spec("picklescan") is None else set()
    assert "skipped" in found or {f"{ours} / {other}" for ours, other in case.ratios if other not in absent} == shown
    assert "skipped" in found or bool(case.unit) == bool(found["growth"])


def test_a_case_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sise"])
    assert "no such case: sise; there are " in capsys.readouterr().err


def test_the_cost_of_a_process_is_its_own() -> None:
    """Not its parent's memory, which the kernel counts at first, nor the time of what starts it."""
    measured = run(PASS)
    here = resource.getrusage(resource.RUSAGE_SELF)
    assert 0 < measured.mebibytes < here.ru_maxrss / 1024 / 2
    assert 0 < measured.cpu < here.ru_utime + here.ru_stime


def test_a_process_that_fails_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run((sys.executable, "-c", "1 / 0"))


def test_a_command_that_refuses_is_no_measurement(tmp_path: Path) -> None:
    """Nothing was migrated here: what is measured must have done its work."""
    weights(tmp_path / "weights.pt", "safetensors", 100, 1)
    with pytest.raises(RuntimeError, match="undo"):
        run(doctor("undo", tmp_path / "weights.pt").words)


def test_all_contenders_run_in_each_round(tmp_path: Path) -> None:
    ran: list[str] = []
    bench = Bench(tmp_path, None)  # type: ignore[arg-type]
    contenders = {name: Command(PASS, after=lambda name=name: ran.append(name)) for name in "ab"}  # type: ignore[misc]
    assert ["a", "b"] == list(bench.measure(contenders, 2))
    assert "baabba" == "".join(ran)


def test_growth_is_measured_between_the_ends_of_a_series() -> None:
    costs = {10: Cost(0.2, 0.1, 20.0), 30: Cost(0.3, 0.2, 20.1), 110: Cost(1.2, 0.6, 20.2)}
    rows = [Row("", {"scan": cost}, series="zip", amount=amount) for amount, cost in costs.items()]
    assert {"zip": {"scan": {"wall": 0.01, "cpu": 0.005, "mebibytes": 0.0}}} == growth(rows)


@pytest.mark.parametrize(("number", "shown"), [(1.634, "1.63 s"), (0.0834, "83.4 ms"), (26e-6, "26.0 µs"), (0.0, "0")])
def test_seconds_are_shown_in_their_unit(number: float, shown: str) -> None:
    assert shown == seconds(number)


def test_both_times_of_a_cell_have_one_unit() -> None:
    assert "1.50 (0.50) s" == cost({"wall": 1.5, "cpu": 0.5})
    assert ("2.00 MiB", "512 KiB") == (memory(2.0), memory(0.5))


@pytest.mark.parametrize(
    ("form", "container"), [("zip", "torch-zip"), ("legacy", "torch-legacy"), ("safetensors",) * 2]
)
def test_weights_have_the_size_and_the_tensors_that_their_row_says(form: str, container: str, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    weights(path, form, 1 << 20, 100)
    file = open_checkpoint(path)
    assert (container, 100) == (file.container, len(file.tensors))
    assert 1 << 20 <= path.stat().st_size < 1.2 * (1 << 20)


def test_the_run_of_a_trainer_is_a_healthy_one(tmp_path: Path) -> None:
    """What is measured must be what people have, and findings would cost time."""
    hf_run(tmp_path / "run", 2, 1 << 20, 4)
    report = scan([tmp_path / "run"])
    assert {("hf", "identical")} == {(file.trainer, file.resume) for file in report.files}


def test_small_files_are_training_checkpoints_without_findings(tmp_path: Path) -> None:
    small_files(tmp_path, 12)
    report = scan([tmp_path])
    assert ([], 12) == ([f for f in report.findings if f.severity != "info"], len(report.files))


def test_a_sample_belongs_to_the_package_s_innermost_module() -> None:
    package = f"{Path(__file__).parent}/"
    assert "test_benchmarks" == sampling.module(sys._getframe(), package)
    assert "elsewhere" == sampling.module(sys._getframe(), "/nowhere/")
