"""What is drawn of a run: its rates step by step, a resume that leaves them, its validation losses."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ckpt_doctor.audit import curve_of, scan
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.trainers.time_llm.curve import curve
from ckpt_doctor.types import Curve, Evidence, Report

SAMPLES = Path(__file__).parents[3] / "fixtures" / "sample-runs"
TRAINED = ("complete-COS", "complete-TST", "first-patch-type1")


def drawn(sample: str) -> tuple[Report, Curve]:
    report = scan([SAMPLES / sample / "checkpoints"])
    [only] = map(curve_of, report.runs)
    return report, only


@pytest.mark.parametrize("sample", TRAINED)
def test_every_resume_point_of_a_run_lies_on_its_curve(sample: str) -> None:
    report, line = drawn(sample)
    assert line.steps_per_epoch == 45
    for file in report.files:
        at = file.resume_point.start_epoch * 45 + file.resume_point.skip_batches
        before = [rate for step, rate in line.rates if step <= at]
        assert file.resume_point.lr[0] == before[-1]


@pytest.mark.parametrize(("sample", "steps"), [("complete-TST", 224), ("first-patch-type1", 225)])
def test_the_curve_ends_with_the_run(sample: str, steps: int) -> None:
    _, line = drawn(sample)
    assert (line.rates[0][0], line.rates[-1][0]) == (0, steps)


def test_where_the_length_of_a_run_is_open_the_curve_goes_a_little_further_than_the_run() -> None:
    report, line = drawn("complete-COS")
    assert report.runs[0].run.facts.train_epochs is None
    assert line.rates[-1][0] > max(file.member.state.global_step for file in report.files)


@pytest.mark.parametrize("sample", [*TRAINED, "legacy"])
def test_losses_and_the_best_epoch_are_those_of_the_log(sample: str) -> None:
    _, line = drawn(sample)
    [log] = (SAMPLES / sample / "logs").iterdir()
    text = log.read_text()
    results = re.findall(r"Epoch: (\d+) \| Train.*Vali Loss: ([\d.]+)", text)
    assert line.losses == tuple((float(epoch), float(loss)) for epoch, loss in results)
    assert str(int(line.best)) == min(results, key=lambda result: float(result[1]))[0]


def test_resumes_without_their_flag_are_drawn_at_25_times_the_rate() -> None:
    report, line = drawn("first-patch-type1")
    assert len(line.departures) == len(report.files)
    furthest = line.departures[0]
    assert furthest.points[0][0] == 140
    place, own, right = furthest.points[-1]
    assert (place, right) == line.rates[-1]
    assert own == pytest.approx(25 * right)


@pytest.mark.parametrize(("sample", "late"), [("complete-TST", 2), ("complete-COS", 2)])
def test_a_schedule_one_move_late_departs_by_the_rates_of_the_move_before(sample: str, late: int) -> None:
    report, line = drawn(sample)
    behind = {file.checkpoint.path for file in report.files if "R501" in {f.code for f in file.findings}}
    assert {departure.path for departure in line.departures} == behind
    assert len(behind) == late
    for departure in line.departures:
        moves = list(dict.fromkeys((own, right) for _, own, right in departure.points))
        assert [own for own, _ in moves[1:]] == [right for _, right in moves[:-1]]


def test_nothing_is_drawn_where_the_mode_is_open() -> None:
    report, _ = drawn("first-patch-type1")
    run = report.runs[0]
    assert curve(replace(run, run=replace(run.run, facts=TimeLLMFacts()))).rates == ()


def test_on_two_processes_a_step_is_one_of_each_process() -> None:
    report, one = drawn("complete-TST")
    run = report.runs[0]
    facts = replace(run.run.facts, world_size=Evidence(2, "--world-size", given=True))
    two = curve(replace(run, run=replace(run.run, facts=facts)))
    assert two.steps_per_epoch in (22, 23)
    assert dict(two.rates)[50] == dict(one.rates)[100]


def test_damaged_files_draw_nothing() -> None:
    assert drawn("damaged")[1].rates == ()
