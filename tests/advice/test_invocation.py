"""A command that the answer names repeats what the call was given."""

from __future__ import annotations

from pathlib import Path

from ckpt_doctor import facts
from ckpt_doctor.advice.invocation import Invocation
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts

PATH = Path("my run/checkpoint")


def test_all_that_was_given_is_given_again() -> None:
    given = Invocation(facts(patience=3), [Path("a.log")], ["E601"], ["mine"], "time-llm")
    words = given.command("migrate --all", TimeLLMFacts(), "--val-loss", "LOSS", paths=[PATH], ignore=["R510"])
    assert ["ckpt-doctor", "migrate", "--all", "--trainer", "time-llm", "--patience", "3", "--log", "a.log"] == [
        *words[:9]
    ]
    assert ("--ignore", "E601,R510", "--trust", "mine", "--val-loss", "LOSS", "my run/checkpoint") == words[9:]


def test_a_whole_family_of_codes_is_a_letter() -> None:
    every = [f"E60{n}" for n in range(1, 10)] + ["E610", "E611"]
    words = Invocation(ignore=[*every, "R510"]).command("check", TimeLLMFacts(), paths=[Path("-last.pt")])
    assert ("ckpt-doctor", "check", "--ignore", "E,R510", "./-last.pt") == words


def test_a_fact_that_the_run_contradicts_is_left_out() -> None:
    assert {} == Invocation(facts(patience=3)).without({"patience": "the log says 10"}).facts
