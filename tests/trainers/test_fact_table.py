"""A trainer's table of facts: a row of it is option, setting, keyword argument, and has its place in every report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import click
import pytest
from click.testing import CliRunner

from ckpt_doctor import facts, reports, scan, trainers
from ckpt_doctor.cli import options
from ckpt_doctor.cli.settings import parse
from ckpt_doctor.errors import UsageError
from ckpt_doctor.reports.facts import given_options
from ckpt_doctor.trainers.facts import every_fact, knowing
from ckpt_doctor.trainers.shared_facts import SHUFFLE, STEPS_PER_EPOCH
from ckpt_doctor.trainers.time_llm.command import TABLE, TimeLLMFacts
from ckpt_doctor.types import Choice, Count, Evidence, Fact, Facts, Given, Number, Report, Run
from ckpt_doctor.types.record import record

SAMPLE = Path(__file__).parents[2] / "fixtures/sample-runs/legacy/checkpoints"
WARMUP = Fact("warmup_steps", Count(), "Steps in which the rate rises.", lambda n: f"{n} warmup steps")
PRECISION = Fact("precision", Choice(("fp16", "bf16")), "What it computes in.", lambda word: f"precision {word}")


@record(frozen=True)
class ToyFacts(Facts):
    table: ClassVar[tuple[Fact, ...]] = (STEPS_PER_EPOCH, WARMUP, PRECISION, SHUFFLE)
    warmup_steps: Evidence[int] | None = None
    precision: Evidence[str] | None = None


def understand(run: Run, given: Given, logs: Sequence[Path]) -> Run:
    found = ToyFacts(**given)  # type: ignore[arg-type]
    return replace(run, facts=found if found.precision else replace(found, candidates={"precision": ("fp16", "bf16")}))


TOY = replace(
    trainers.UNKNOWN,
    name="toy",
    facts=ToyFacts.table,
    recognises=lambda _folder, checkpoints, _logs: {checkpoint.path for checkpoint in checkpoints},
    judging=lambda: replace(trainers.UNKNOWN.judging(), understand=understand),
)


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy trainer is known, and owns what Time-LLM does not recognise."""
    monkeypatch.setattr(trainers, "KNOWN", (trainers.TIME_LLM, TOY))


@pytest.fixture
def report(tmp_path: Path, request: pytest.FixtureRequest) -> Report:
    """A scan of a file that is the toy trainer's, with these facts given."""
    shutil.copy(next(SAMPLE.glob("*/checkpoint")), tmp_path / "state.pt")
    return scan(tmp_path, facts=facts(source="--given", **request.param), trainer="toy")


def command(seen: list[Given]) -> click.Command:
    @options.training_facts
    def call(facts: Given, logs: tuple[Path, ...], trainer: str | None) -> None:
        seen.append(facts)

    return click.command("toy", cls=options.Command)(call)


def test_a_row_is_an_option() -> None:
    seen: list[Given] = []
    CliRunner().invoke(command(seen), ["--warmup-steps", "4", "--precision", "BF16", "--no-shuffle"])
    given = [Evidence(4, "--warmup-steps", True), Evidence("bf16", "--precision", True)]
    assert [{"warmup_steps": given[0], "precision": given[1], "shuffle": Evidence(False, "--shuffle", True)}] == seen


@pytest.mark.parametrize("words", [["--warmup-steps", "0"], ["--warmup-steps", "x"], ["--precision", "fp8"]])
def test_an_option_takes_what_its_row_allows(words: list[str]) -> None:
    assert 2 == CliRunner().invoke(command([]), words).exit_code


def test_help_groups_the_options_by_the_trainers_that_know_them_each_once() -> None:
    printed = CliRunner().invoke(command([]), ["--help"]).output
    groups = dict(part.split(":\n", 1) for part in printed.split("Facts of the training command ")[1:])
    assert {f"({', '.join(knowing(name))})" for name in every_fact()} == set(groups)
    assert "--warmup-steps" in groups["(toy)"]
    assert "--steps-per-epoch" in groups[f"({', '.join(knowing('steps_per_epoch'))})"]
    assert 1 == printed.count("  --steps-per-epoch")


def test_a_row_is_a_key_of_the_settings() -> None:
    assert {"warmup_steps": 4} == parse("[tool.ckpt-doctor]\nwarmup-steps = 4", Path("pyproject.toml")).options
    with pytest.raises(UsageError, match="precision must be one of fp16, bf16, not 'fp8'"):
        parse('[tool.ckpt-doctor]\nprecision = "fp8"', Path("pyproject.toml"))


def test_a_row_is_a_keyword_argument() -> None:
    assert {"warmup_steps": Evidence(4, "my config", given=True)} == facts(source="my config", warmup_steps=4)
    with pytest.raises(UsageError, match="warmup_steps must be a whole number above 0, not 0"):
        facts(warmup_steps=0)


@pytest.mark.parametrize("report", [{"warmup_steps": 4}], indirect=True)
def test_a_run_has_the_facts_of_its_trainer_in_json(report: Report) -> None:
    (run,) = json.loads(reports.judged(report, "json"))["runs"]
    assert {"steps_per_epoch": None, "warmup_steps": 4, "precision": None, "shuffle": None} == run["facts"]
    assert ({"warmup_steps": "--given"}, None) == (run["evidence"], run["lradj"])


@pytest.mark.parametrize("report", [{"warmup_steps": 4}], indirect=True)
def test_a_report_says_a_fact_in_the_words_of_its_row(report: Report) -> None:
    printed = " ".join(reports.judged(report, "table", detail="all").split())
    assert "4 warmup steps --given" in printed
    assert "precision not settled fp16 or bf16" in printed


@pytest.mark.parametrize("report", [{"warmup_steps": 4, "shuffle": False}], indirect=True)
def test_a_cure_repeats_what_was_given(report: Report) -> None:
    assert ["--warmup-steps", "4", "--no-shuffle"] == given_options(report.runs[0].run.facts)


@pytest.mark.parametrize("report", [{"warmup_steps": 4, "lradj": "TST"}], indirect=True)
def test_a_fact_that_the_runs_trainer_does_not_have_is_a_note(report: Report) -> None:
    (file,) = report.files
    assert [("--lradj", "the training command of toy has no such fact")] == [
        (point.what, point.why) for point in file.not_checked if point.settle == ""
    ]
    assert 4 == report.runs[0].run.facts.warmup_steps.value  # type: ignore[attr-defined]


def test_every_row_is_an_attribute_of_its_trainers_facts() -> None:
    known = TimeLLMFacts(**{fact.name: Evidence(1, "") for fact in TABLE})  # type: ignore[arg-type]
    assert all(known.get(fact.name) is not None for fact in TABLE)
    assert known.get("warmup_steps") is None


def test_one_process_and_shuffled_where_nothing_tells() -> None:
    assert (1, True) == (Facts().processes, Facts().shuffles)
    told = Facts(world_size=Evidence(4, "log"), shuffle=Evidence(False, "--shuffle"))
    assert (4, False) == (told.processes, told.shuffles)


@pytest.mark.parametrize(
    ("bounds", "what", "inside", "outside"),
    [
        (Number(), "a finite number", [-3, 0.5], [float("nan"), float("inf"), True, "1"]),
        (Number(0, above=True), "a number above 0", [1e-9, 3], [0, -1]),
        (Number(0, 1), "a number from 0 to 1", [0, 1, 0.5], [-0.1, 1.1]),
        (Number(0), "a number from 0 on", [0, 1e9], [-1e-9]),
    ],
)
def test_bounds_of_a_number(bounds: Number, what: str, inside: list[object], outside: list[object]) -> None:
    assert what == bounds.what
    assert all(map(bounds.fits, inside))
    assert not any(map(bounds.fits, outside))
