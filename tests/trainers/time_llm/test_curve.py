"""What is drawn of a run: its rates step by step, a resume that leaves them, its validation losses."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ckpt_doctor.audit import curves, scan
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.trainers.time_llm.curve import curve
from ckpt_doctor.types import Curve, Evidence, Report

SAMPLES = Path(__file__).parents[3] / "fixtures" / "sample-runs"
TRAINED = ("complete-COS", "complete-TST", "first-patch-type1")


def drawn(sample: str) -> tuple[Report, Curve]:
    report = scan([SAMPLES / sample / "checkpoints"])
    [only] = curves(report)
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
    assert str(line.best_epoch) == min(results, key=lambda result: float(result[1]))[0]


def test_a_resume_without_its_flag_is_drawn_from_the_furthest_file_at_25_times_the_rate() -> None:
    _, line = drawn("first-patch-type1")
    [(name, rates)] = line.resumed
    assert "checkpoint_step_140 without --learning_rate" in name
    assert rates[0][0] == 140
    right = dict(line.rates)
    assert rates[-1][1] == pytest.approx(25 * right[225])


def test_a_run_that_needs_no_flag_has_only_its_own_line() -> None:
    assert drawn("complete-TST")[1].resumed == ()


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
    assert curves(scan([SAMPLES / "damaged"])) == [] or drawn("damaged")[1].rates == ()
