"""A fact that is given by hand and that the run's own files or log contradict is told, in one sentence each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.trainers.time_llm.doubts import changed_epochs, disagreements, length_doubts
from ckpt_doctor.trainers.time_llm.log_facts import LogFacts
from ckpt_doctor.trainers.time_llm.processes import Known
from ckpt_doctor.types import Evidence, Member
from tests.trainers.time_llm.members import best, scheduled, step_file

FILES = [scheduled(step_file(n, n // 10), "TST", n - 1) for n in (15, 25, 35)]
"""Of epochs of 10 steps, 5 of them, on one process, at most rate 0.01."""


def given(**facts: Any) -> TimeLLMFacts:
    return TimeLLMFacts(**{name: Evidence(value, "given", given=True) for name, value in facts.items()})


def told(facts: TimeLLMFacts, files: list[Member] = FILES, log: LogFacts | None = None, **known: Any) -> dict[str, str]:
    """Fact -> what contradicts it."""
    total = files[0].state.total_steps if files else None
    found = disagreements(files, facts, log, Known(total_steps=total, **known), "TST", "complete", None)
    return {name: sentences[0] for name, sentences in found.items() if sentences}


def test_what_the_files_bear_out_is_not_doubted() -> None:
    facts = given(steps_per_epoch=10, world_size=1, train_epochs=5, learning_rate=0.01, pct_start=0.3, patience=3)
    assert {} == told(facts, steps_per_epoch=10)
    assert {} == told(TimeLLMFacts())
    assert {} == told(facts, [])


@pytest.mark.parametrize(
    ("fact", "value", "words"),
    [
        ("steps_per_epoch", 1000, ["1,000 steps per epoch", "epoch 2 after 25 steps"]),
        ("world_size", 3, ["3 processes", "the files 1"]),
        ("train_epochs", 2, ["2 epochs", "a checkpoint is in epoch 3"]),
        ("train_epochs", 7, ["7 epochs", "50 steps, which is not a multiple"]),
        ("learning_rate", 0.5, ["0.5", "0.01"]),
        ("pct_start", 0.2, ["pct_start 0.2", "0.3"]),
    ],
)
def test_what_the_files_contradict_is_told_with_both_values(fact: str, value: Any, words: list[str]) -> None:
    found = told(given(**{fact: value}))
    assert {fact} == found.keys()
    assert all(word in found[fact] for word in words), found[fact]


def test_both_the_runs_rate_and_the_base_that_its_resume_needs_are_right() -> None:
    """`--learning_rate 4e-06` is the cure of a rate that jumps."""
    for rate in (0.01, 0.01 / 25):
        assert {} == told(given(learning_rate=rate))


def test_a_length_is_doubted_only_by_most_files_and_where_another_explains_them() -> None:
    """One file of another epoch may be wrong itself; and `epoch` can be one behind."""
    odd = scheduled(step_file(45, 1), "TST", 44)
    assert {} == told(given(steps_per_epoch=10), [*FILES, odd])
    young = [scheduled(step_file(n, n // 10), "TST", n - 1) for n in (12, 18, 45)]
    assert {} == told(given(steps_per_epoch=20, world_size=1), young)
    assert {} == told(given(steps_per_epoch=12), [scheduled(step_file(30, 2), "TST", 29)])


def test_the_log_contradicts_too() -> None:
    log = LogFacts(Path("train.log"), patience=Evidence(10, "line 7"), arguments=given(pct_start=0.2))
    assert "line 7" in told(given(patience=3), log=log)["patience"]
    assert {} == told(given(patience=10, pct_start=0.2), [], log)
    assert "the log is in epoch 8" in told(given(train_epochs=5), epochs_begun=9)["train_epochs"]


def test_a_logs_length_that_fits_no_file_is_told() -> None:
    steps = Evidence(7, "train.log, line 3")
    assert "fits no checkpoint" in length_doubts(steps, FILES, 1)[0]
    assert (
        "not a multiple"
        in length_doubts(Evidence(20, "train.log"), [best(20, 1), scheduled(best(40, 2), "TST", 40)], 1)[0]
    )
    assert [] == length_doubts(Evidence(10, "train.log"), FILES, 1)


def test_another_number_of_epochs_than_the_schedule_was_made_for_is_told_where_it_does_not_move() -> None:
    """Where it does, the schedule ends too early, which a rule of its own says."""
    steps = Evidence(10, "log")
    (sentence,) = changed_epochs(given(train_epochs=8), 50, "type1", steps)
    assert all(word in sentence for word in ("8 epochs", "made for 5"))
    assert [] == changed_epochs(given(train_epochs=5), 50, "type1", steps)
    assert [] == changed_epochs(given(train_epochs=8), 50, "TST", steps)
    assert "not a multiple" in changed_epochs(given(train_epochs=8), 50, "type1", None)[0]
    assert [] == changed_epochs(given(train_epochs=2), 50, "type1", None)
